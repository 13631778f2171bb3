package rpcmesh

import (
	"context"
	"log/slog"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

const (
	// remindAfter is the pause before the first log line about a wait without a deadline. It doubles up to
	// remindEvery.
	remindAfter  = 3 * time.Second
	remindGrowth = 2
	remindEvery  = 5 * time.Minute
)

// reminder says when to log that something is waiting that may wait for ever. A nil reminder never does.
type reminder struct {
	logger *slog.Logger
	since  time.Time
	pause  time.Duration
	timer  *time.Timer // nil: never
}

// newReminder returns a reminder for a wait that begins now. It never fires where the wait is limited by a deadline.
// It must be stopped.
func newReminder(log *slog.Logger, limited bool) *reminder {
	r := &reminder{logger: log, pause: remindAfter}
	if !limited {
		r.since, r.timer = time.Now(), time.NewTimer(remindAfter)
	}
	return r
}

// remind is newReminder for a wait that ends with ctx.
func remind(ctx context.Context, log *slog.Logger) *reminder {
	_, limited := ctx.Deadline()
	return newReminder(log, limited)
}

func (r *reminder) c() <-chan time.Time {
	if r == nil || r.timer == nil {
		return nil
	}
	return r.timer.C
}

// log logs what is waiting, and schedules the next log line.
func (r *reminder) log(what string, args ...any) { r.logAt(slog.LevelWarn, what, args...) }

func (r *reminder) logAt(level slog.Level, what string, args ...any) {
	r.logger.Log(context.Background(), level, what, append(args, "for", time.Since(r.since).Round(time.Millisecond))...)
	r.pause = min(duration.Times(r.pause, remindGrowth), remindEvery)
	r.timer.Reset(r.pause)
}

func (r *reminder) stop() {
	if r != nil && r.timer != nil {
		r.timer.Stop()
	}
}
