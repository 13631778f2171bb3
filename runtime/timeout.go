package rpcmesh

import (
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect/v2"
)

// callDeadline is when a call's time is up.
type callDeadline struct {
	at        time.Time // zero: never
	byDefault bool      // it is that of [Config.CallTimeout]
}

// defaultDeadline is the deadline of a unary call that has none of its own.
func (c *calls) defaultDeadline() callDeadline {
	if c.cfg.CallTimeout <= 0 {
		return callDeadline{}
	}
	return callDeadline{at: time.Now().Add(c.cfg.CallTimeout), byDefault: true}
}

func (d callDeadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// explain is an error of the call, which says whose the time was that is up where the caller set none.
func (d callDeadline) explain(err error, timeout time.Duration, node string) error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || !d.byDefault || e.Code() != connect.CodeDeadlineExceeded || !d.passed() {
		return err
	}
	if e.IsRemote() && e.Message() != "" {
		return err // the handler's own words
	}
	text := fmt.Sprintf("the call's time is up: it had no deadline, so it got the %v of node %q's Config.CallTimeout; "+
		"give its context a deadline, or set CallTimeout", timeout, node)
	return withMessage(e, text)
}
