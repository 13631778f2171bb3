package rpcmesh

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
)

// What callers see in place of a handler's error that is not meant for them.
const (
	textUnknown   = "the handler returned an error that callers are not told: its node's log has it (use a *connect.Error for what they may know)"
	textOtherCall = "the handler returned another call's error, which is not its own: its node's log has it (use a new *connect.Error to pass it on)"
	textPanic     = "the handler failed: its node's log has why"
)

// callerError converts a handler's error into the form in which its caller sees it, by Connect's rules: the text of
// an error without a code stays here, and an error received from another call is not this handler's own. It reports
// hidden where the caller does not see what went wrong, so that it has to be logged.
func callerError(err error) (verdict *connect.Error, hidden bool) {
	if err == nil {
		return nil, false
	}
	if e := coded.Of(err); e != nil {
		switch {
		case e.IsRemote():
			return connect.NewError(connect.CodeInternal, textOtherCall), true
		case errors.Is(e, errOfCall):
			return withoutFailure(e), false // its certainty is that of another call
		}
		return e, hasHiddenCause(e)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, ""), false
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, ""), false
	}
	return connect.NewError(connect.CodeUnknown, textUnknown), true
}

// hasHiddenCause reports whether e blames the handler and only its cause, which callers do not see, says why.
func hasHiddenCause(e *connect.Error) bool {
	return (e.Code() == connect.CodeInternal || e.Code() == connect.CodeUnknown) && errors.Unwrap(e) != nil
}

// logHidden logs a handler's error that its caller does not see.
func (m *localFunction) logHidden(err error, told *connect.Error) {
	os := m.origins
	os.log.limited.Log(slog.LevelWarn, "a handler's error is not told to its caller", m.spec.Procedure,
		slog.String("procedure", m.spec.Procedure), slog.String("told", told.Code().String()), slog.String("error", fullText(err)))
}

// maxLogged bounds the text that is logged of one error, in bytes.
const maxLogged = 4 << 10

// fullText is the text of an error and of those of its causes that it does not contain.
func fullText(err error) string {
	text := err.Error()
	for cause := errors.Unwrap(err); cause != nil && len(text) <= maxLogged; cause = errors.Unwrap(cause) {
		if t := cause.Error(); !strings.Contains(text, t) {
			text += " (" + t + ")"
		}
	}
	if len(text) > maxLogged {
		text = strings.ToValidUTF8(text[:maxLogged], "") + "..."
	}
	return text
}
