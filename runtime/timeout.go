package rpcmesh

import (
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect/v2"
)

// limit gives a call without a deadline that of [Config.CallTimeout].
func (s *outgoing) limit() {
	s.deadline, s.limited = time.Now().Add(s.ns.node.cfg.CallTimeout), true
}

// timedOut is an error of the call, which says whose the time was that is up where the caller set none.
func (s *outgoing) timedOut(err error) error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || !s.limited || e.Code() != connect.CodeDeadlineExceeded || time.Now().Before(s.deadline) {
		return err
	}
	if e.IsRemote() && e.Message() != "" {
		return err // the handler's own words
	}
	n := s.ns.node
	text := fmt.Sprintf("the call's time is up: it had no deadline, so it got the %v of node %q's Config.CallTimeout; "+
		"give its context a deadline, or set CallTimeout", n.cfg.CallTimeout, n.name)
	return reworded(e, text)
}
