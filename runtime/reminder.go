package rpcmesh

import (
	"context"
	"log/slog"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

const (
	// remindAfter is when it is logged first that something waits and has no deadline. The pause triples up to
	// remindEvery.
	remindAfter  = 3 * time.Second
	remindGrowth = 3
	remindEvery  = 10 * time.Minute
)

// reminder says when it is to be logged that something waits which may do so for ever.
type reminder struct {
	logger *slog.Logger
	began  time.Time
	pause  time.Duration
	timer  *time.Timer // nil: never
}

// remindUnless returns a reminder for what waits from now on, unless that has a deadline. It is to be stopped.
func (n *Node) remindUnless(limited bool) *reminder {
	r := &reminder{logger: n.log, pause: remindAfter}
	if !limited {
		r.began, r.timer = time.Now(), time.NewTimer(remindAfter)
	}
	return r
}

// remind is remindUnless for what ends with ctx.
func (n *Node) remind(ctx context.Context) *reminder {
	_, limited := ctx.Deadline()
	return n.remindUnless(limited)
}

func (r *reminder) c() <-chan time.Time {
	if r.timer == nil {
		return nil
	}
	return r.timer.C
}

// log says what waits, and sets the next time.
func (r *reminder) log(what string, args ...any) {
	r.logger.Warn(what, append(args, "for", time.Since(r.began).Round(time.Millisecond))...)
	r.pause = min(duration.Times(r.pause, remindGrowth), remindEvery)
	r.timer.Reset(r.pause)
}

func (r *reminder) stop() {
	if r.timer != nil {
		r.timer.Stop()
	}
}
