// Package quiet logs what others can cause as often as they like: so often at most.
package quiet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
)

const (
	// window and burst are how often one thing is logged.
	window = 10 * time.Second
	burst  = 5
	// maxKinds bounds how many such things are told apart.
	maxKinds = 64
)

// Logger logs what others can cause, strangers too, so often at most. What it leaves out it counts, and tells
// with the next of its kind. It may be used concurrently, once To is set.
type Logger struct {
	// To is what it logs to.
	To *slog.Logger

	mu    sync.Mutex
	kinds map[kind]*tally
}

// kind is what is counted apart: a message, and whom or what it is about.
type kind struct{ msg, about string }

type tally struct {
	began  time.Time
	logged int
	left   int // out
}

// Log logs msg, of which there is so much about one thing, and at most so much about all.
func (q *Logger) Log(level slog.Level, msg, about string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !q.To.Enabled(ctx, level) {
		return
	}
	left, ok := q.count(kind{msg, about}, time.Now())
	if !ok {
		return
	}
	if left > 0 {
		attrs = append(attrs, slog.Int("left_out", left))
	}
	q.To.LogAttrs(ctx, level, msg, attrs...)
}

// Panic logs err likewise, if it is a [guard.PanicError].
func (q *Logger) Panic(err error, about string, attrs ...slog.Attr) {
	if p, ok := errors.AsType[*guard.PanicError](err); ok {
		attrs = append(attrs, slog.String("panic", p.Value), slog.String("stack", p.Stack))
		q.Log(slog.LevelError, p.Error(), about, attrs...)
	}
}

// count reports whether one more of a kind is to be logged, and how many before it were not.
func (q *Logger) count(k kind, now time.Time) (left int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.kinds[k]
	if c == nil {
		if len(q.kinds) >= maxKinds {
			q.forgetLocked(now)
		}
		if len(q.kinds) >= maxKinds {
			k = kind{msg: k.msg}
			c = q.kinds[k]
		}
	}
	if c == nil {
		if q.kinds == nil {
			q.kinds = make(map[kind]*tally)
		}
		c = &tally{began: now}
		q.kinds[k] = c
	}
	if now.Sub(c.began) >= window {
		c.began, c.logged = now, 0
	}
	if c.logged == burst {
		c.left++
		return 0, false
	}
	c.logged++
	left, c.left = c.left, 0
	return left, true
}

// forgetLocked drops the kinds of which there has been none for a while.
func (q *Logger) forgetLocked(now time.Time) {
	for k, c := range q.kinds {
		if now.Sub(c.began) >= window {
			delete(q.kinds, k)
		}
	}
}
