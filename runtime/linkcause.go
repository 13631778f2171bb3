package rpcmesh

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// setConn records the connection of the current attempt.
func (l *Link) setConn(conn *carrier.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}

// downCauseLocked is why the link is not up: the last attempt's error or, before one has failed, what the first
// attempt is waiting for.
func (l *Link) downCauseLocked() error {
	text := "there is no connection yet: see the address, whether the host is up, and whether a firewall drops what is sent there"
	switch {
	case l.err != nil:
		return l.err
	case l.session != nil:
		text = "it is up, but the other end has yet to tell what it has"
	case l.conn != nil:
		text = l.conn.Waiting()
	case l.url.Scheme == "https":
		text = "there is no connection yet, or TLS's handshake goes on: see whether the host is up and a node accepts there, " +
			"and whether a firewall drops what is sent there; link by http if it speaks no TLS"
	}
	return connect.NewError(connect.CodeUnavailable, text)
}

func (l *Link) downCause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.downCauseLocked()
}

// notReady is the error of Ready when ctx has ended.
func (l *Link) notReady(ctx context.Context) error {
	return connect.Errorf(coded.OfContext(ctx.Err()), "rpcmesh: the link to %s is not up: %v", l.url, l.downCause()).
		WithCause(context.Cause(ctx))
}

// refusal is the error of Ready where trying again does not help.
func (l *Link) refusal(err error) error {
	text := err.Error()
	if e, ok := errors.AsType[*connect.Error](err); ok {
		text = e.Message()
	}
	return connect.Errorf(connect.CodeOf(err), "rpcmesh: no link to %s: %s", l.url, text).WithCause(err)
}

// logDown logs how an attempt or a session has ended, and returns that. What equals logged, the text of the time
// before, is logged at debug level only: logWhileDown repeats it.
func (l *Link) logDown(ctx context.Context, err error, logged string, pause time.Duration) string {
	level, text := logLevel(err), err.Error()
	if _, wasUp := errors.AsType[*link.Ended](err); !wasUp && text == logged {
		level = slog.LevelDebug
	}
	l.linker.log.LogAttrs(ctx, level, "link down", attrURL(l.url), attrError(err), attrRedial(pause))
	return text
}

// logWhileDown logs why the link is down, for as long as it is.
func (l *Link) logWhileDown(ctx context.Context) {
	var remind *reminder
	defer func() { remind.stop() }()
	for {
		l.mu.Lock()
		changed, up := l.changed.wait(), l.phase >= linkSynced
		l.mu.Unlock()
		switch {
		case up:
			remind.stop()
			remind = nil
		case remind == nil:
			remind = newReminder(l.linker.log.Logger, false)
		}
		select {
		case <-changed:
		case <-remind.c():
			cause := l.downCause()
			remind.logAt(max(logLevel(cause), slog.LevelWarn), "link not up", attrURL(l.url), attrError(cause))
		case <-ctx.Done():
			return
		}
	}
}
