package rpcmesh

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

func attrURL(u *url.URL) slog.Attr             { return slog.String("url", u.String()) }
func attrAddr(addr string) slog.Attr           { return slog.String("addr", addr) }
func attrRedial(pause time.Duration) slog.Attr { return slog.Duration("redial_within", pause) }

func attrPeer(p link.Peer) slog.Attr {
	return slog.Group("peer", "name", p.Join.GetInfo().GetName(), "id", NodeID(p.Node).String())
}

// attrError logs an error with the cause that its peer is not told.
func attrError(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	text := err.Error()
	if cause := errors.Unwrap(err); cause != nil {
		text += " (" + fmt.Sprint(cause) + ")" // which outlives an Error method that panics
	}
	return slog.String("error", text)
}

// logLevel is how loud the end of a link is: a refusal wants a person.
func logLevel(err error) slog.Level {
	if isRefusal(err) {
		return slog.LevelError
	}
	return slog.LevelInfo
}

// isRefusal tells the other end's verdict on a link from a failure to reach it.
func isRefusal(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeNotFound,
		connect.CodeInvalidArgument, connect.CodeAlreadyExists, connect.CodeFailedPrecondition:
		return true
	default:
		return false
	}
}

// logPause is how often the log is told of what a peer can do as often as it likes.
const logPause = 10 * time.Second

// logLimiter lets one of many lines through in a while.
type logLimiter struct {
	mu   sync.Mutex
	last time.Time
}

// allow reports whether a line may be logged now.
func (s *logLimiter) allow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.last.IsZero() && now.Sub(s.last) < logPause {
		return false
	}
	s.last = now
	return true
}

// truncate shortens a name that a peer made up.
func truncate(name string) string {
	const most = 64
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "..."
}
