package rpcmesh

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
)

const (
	// quietTime and quietBurst are how often one thing is logged that others can cause as often as they
	// like.
	quietTime  = 10 * time.Second
	quietBurst = 5
	// maxQuiet bounds how many such things are told apart.
	maxQuiet = 64
)

// quiet logs what others can cause, strangers too, so often at most. What it leaves out it counts, and tells
// with the next of its kind.
type quiet struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[quietKind]*quietCount
}

// quietKind is what is counted apart: a message, and whom or what it is about.
type quietKind struct{ msg, about string }

type quietCount struct {
	began  time.Time
	logged int
	left   int // out
}

// Log logs msg, of which there is so much about one thing, and at most so much about all.
func (q *quiet) Log(level slog.Level, msg, about string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !q.log.Enabled(ctx, level) {
		return
	}
	left, ok := q.count(quietKind{msg, about}, time.Now())
	if !ok {
		return
	}
	if left > 0 {
		attrs = append(attrs, slog.Int("left_out", left))
	}
	q.log.LogAttrs(ctx, level, msg, attrs...)
}

// Panic logs err likewise, if it is a [guard.PanicError].
func (q *quiet) Panic(err error, about string, attrs ...slog.Attr) {
	if p, ok := errors.AsType[*guard.PanicError](err); ok {
		attrs = append(attrs, slog.String("panic", p.Value), slog.String("stack", p.Stack))
		q.Log(slog.LevelError, p.Error(), about, attrs...)
	}
}

// count reports whether one more of a kind is to be logged, and how many before it were not.
func (q *quiet) count(kind quietKind, now time.Time) (left int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.kinds[kind]
	if c == nil {
		if len(q.kinds) >= maxQuiet {
			q.forget(now)
		}
		if len(q.kinds) >= maxQuiet {
			kind = quietKind{msg: kind.msg}
			c = q.kinds[kind]
		}
	}
	if c == nil {
		if q.kinds == nil {
			q.kinds = make(map[quietKind]*quietCount)
		}
		c = &quietCount{began: now}
		q.kinds[kind] = c
	}
	if now.Sub(c.began) >= quietTime {
		c.began, c.logged = now, 0
	}
	if c.logged == quietBurst {
		c.left++
		return 0, false
	}
	c.logged++
	left, c.left = c.left, 0
	return left, true
}

// forget drops the kinds of which there has been none for a while. mu is held.
func (q *quiet) forget(now time.Time) {
	for kind, c := range q.kinds {
		if now.Sub(c.began) >= quietTime {
			delete(q.kinds, kind)
		}
	}
}
