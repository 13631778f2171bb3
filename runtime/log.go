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
	return slog.Group("peer", "name", p.Join.GetInfo().GetName(), "id", p.Node.String())
}

// attrError logs an error with its cause, which the peer does not see.
func attrError(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	text := err.Error()
	if cause := errors.Unwrap(err); cause != nil {
		text += " (" + fmt.Sprint(cause) + ")" // fmt survives an Error method that panics
	}
	return slog.String("error", text)
}

// logLevel is the level at which a link's end is logged: a refusal needs a person's attention.
func logLevel(err error) slog.Level {
	if isRefusal(err) {
		return slog.LevelError
	}
	return slog.LevelInfo
}

// isRefusal distinguishes the other end's refusal of a link from a failure to reach it.
func isRefusal(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeNotFound,
		connect.CodeInvalidArgument, connect.CodeAlreadyExists, connect.CodeFailedPrecondition:
		return true
	default:
		return false
	}
}

// logPause is the least time between log lines that a peer could cause at any rate.
const logPause = 10 * time.Second

// logLimiter allows one log line per logPause.
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

// truncate shortens a name that a peer chose.
func truncate(name string) string {
	const most = 64
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "..."
}
