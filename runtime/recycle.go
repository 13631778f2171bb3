package rpcmesh

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
)

const (
	// minRecycled is the least limit, in bytes, for which streams are recycled: with less, most of the traffic would
	// be handshakes and tables.
	minRecycled = 64 << 10
	// recyclePause is how long a stream is used at least, so that a link is dialled at most 50 times a second. A
	// sender that exceeds the limit in less time is held back.
	recyclePause = 20 * time.Millisecond
	// maxRetired is how many replaced streams of a link may still have calls.
	maxRetired = 32
	// successorTimeout bounds how long a stream waits for its successor.
	successorTimeout = time.Second
	// retiredPoll is the interval at which a replaced stream is checked for remaining calls.
	retiredPoll = 20 * time.Millisecond
)

// recycling replaces the stream of a link before a proxy in front of the other end cuts it for being too long a
// request. Once such cuts have shown the limit, a new stream is dialled when half of it is used. New calls use the
// new stream, and the old one is closed when its calls have ended. All fields but streams and retired belong to the
// goroutine of [Link.maintain].
type recycling struct {
	limit        uint64 // 0: none is known
	lastCut      uint64 // bytes sent when the last stream was cut
	lastRecycled time.Time
	streams      sync.WaitGroup
	retired      chan struct{} // a semaphore: one entry per replaced stream
}

// errRecycled says that a session goes on until its successor has taken over.
var errRecycled = errors.New("the stream is recycled")

// learnLimit records how a stream has ended, and reports whether a new limit was learnt from it.
func (r *recycling) learnLimit(err error) bool {
	cut, ok := errors.AsType[*carrier.ProxyResetError](err)
	if !ok {
		return false
	}
	before := r.lastCut
	r.lastCut = cut.Sent
	if !cut.LikelyBodyLimit() && !aboutEqual(before, cut.Sent) || r.limit != 0 && cut.Sent >= r.limit-r.limit/8 {
		return false
	}
	r.limit = cut.Sent
	return true
}

// aboutEqual reports whether two cuts can be due to the same limit.
func aboutEqual(a, b uint64) bool { return min(a, b) >= max(a, b)-max(a, b)/8 && a > 0 }

// limitReached returns a channel that is closed when the stream of conn is to be replaced; nil where it never is. At
// three quarters of the limit the stream stops sending until it has been.
func (r *recycling) limitReached(conn carrier.Conn) <-chan struct{} {
	if r.limit < minRecycled {
		return nil
	}
	conn.Hold(r.limit - r.limit/4)
	return conn.AfterSent(r.limit / 2)
}

// runSession runs a session to its end. Where its stream is to be replaced, it returns errRecycled while the session
// goes on. It calls done when the session has ended.
func (l *Link) runSession(ctx context.Context, s *session, conn carrier.Conn, done func() bool) error {
	r := &l.recycling
	ended := make(chan error, 1)
	r.streams.Go(func() {
		defer done()
		ended <- s.link.Run(s)
	})
	if err, over := l.awaitLimit(conn, ended); over {
		if r.learnLimit(err) {
			l.warnOfLimit(ctx)
		}
		return err
	}
	r.lastRecycled = time.Now()
	r.streams.Go(func() {
		defer func() { <-r.retired }()
		l.awaitSuccessor(s)
		conn.Lift()
		l.retire(ctx, s, ended)
	})
	return errRecycled
}

// awaitLimit waits until the stream of a session is to be replaced and can be, or until the session has ended; then
// it reports over, and how.
func (l *Link) awaitLimit(conn carrier.Conn, ended <-chan error) (err error, over bool) { //nolint:revive // err is no failure of it

	select {
	case <-l.recycling.limitReached(conn):
	case err := <-ended:
		return err, true
	}
	lift := time.AfterFunc(successorTimeout, conn.Lift)
	defer lift.Stop()
	pause := time.NewTimer(time.Until(l.recycling.lastRecycled.Add(recyclePause)))
	defer pause.Stop()
	select {
	case <-pause.C:
	case err := <-ended:
		return err, true
	}
	select {
	case l.recycling.retired <- struct{}{}:
	case err := <-ended:
		return err, true
	}
	return nil, false
}

// awaitSuccessor waits until another session has taken over from s, for at most successorTimeout.
func (l *Link) awaitSuccessor(s *session) {
	late := time.NewTimer(successorTimeout)
	defer late.Stop()
	for {
		l.mu.Lock()
		changed := l.changed.wait()
		l.mu.Unlock()
		if l.hasSuccessor(s) {
			return
		}
		select {
		case <-changed:
		case <-s.ended:
			return
		case <-late.C:
			return
		}
	}
}

// retire ends a session once another one has taken over and its calls have ended.
func (l *Link) retire(ctx context.Context, s *session, ended <-chan error) {
	look := time.NewTicker(retiredPoll)
	defer look.Stop()
	bye := &linkv1.Goodbye{Reason: "the link goes on by another stream"}
	for {
		select {
		case err := <-ended:
			l.linker.log.LogAttrs(ctx, slog.LevelDebug, "stream recycled", attrURL(l.url), attrError(err))
			return
		case <-look.C:
			if l.hasSuccessor(s) {
				s.link.CloseIdle(bye)
			}
		}
	}
}

// hasSuccessor reports whether another session has taken over from s, and both of its ends are ready.
func (l *Link) hasSuccessor(s *session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session != nil && l.session != s && l.phase == linkReady
}

func (l *Link) warnOfLimit(ctx context.Context) {
	limit := l.recycling.limit
	text := "a proxy in front of the node limits a request's body, and a link is one: its stream is recycled from now on, " +
		"but longer messages do not pass; lift the limit (nginx: client_max_body_size 0)"
	if limit < minRecycled {
		text = "a proxy in front of the node limits a request's body, and a link is one: lift the limit (nginx: client_max_body_size 0)"
	}
	l.linker.log.LogAttrs(ctx, slog.LevelWarn, text, attrURL(l.url), slog.Uint64("bytes", limit))
}
