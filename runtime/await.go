package rpcmesh

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect/v2"
)

type waitForReadyKey struct{}

// WaitForReady returns a context whose calls wait for their function wherever it may yet come: where it was there
// and went, and where a link of the node that makes the call is down. They fail only where nobody within reach
// has or lately had the function, and when their time is up. A stream without a deadline waits as long as it
// takes, and the log tells so.
func WaitForReady(ctx context.Context) context.Context {
	return context.WithValue(ctx, waitForReadyKey{}, true)
}

func waitsForReady(ctx context.Context) bool { return ctx.Value(waitForReadyKey{}) != nil }

// errAbsent tells that a function has no origin within reach. No caller sees it: [Namespace.awaitFunction] says
// why.
var errAbsent = errors.New("the function has no origin within reach")

// awaitRoute finds the call's first route, and waits for it where waiting may help.
func (a *attempts) awaitRoute() error {
	err := a.findRoute()
	for errors.Is(err, errAbsent) {
		if err := a.calls.awaitFunction(a.ctx, a.deadline.at, a.namespace, a.spec.Procedure, nil); err != nil {
			return err
		}
		err = a.findRoute()
	}
	return err
}

// awaitFunction returns nil once procedure can be called. It waits for that while a link is about to bring it, and
// for a call that is to wait, see [WaitForReady]; until the deadline, if there is one, or letGo closes. Else it
// returns at once why not. It does not wait for the node's lock.
func (c *calls) awaitFunction(
	ctx context.Context, deadline time.Time, namespace, procedure string, letGo <-chan struct{},
) error {

	patient := waitsForReady(ctx)
	remind := newReminder(c.log.Logger, !deadline.IsZero())
	defer remind.stop()
	timeUp, stop := timerAt(deadline)
	defer stop()
	for {
		_, changed := c.table.snapshotAndChange()
		links, moved := c.links.states(namespace)
		table := c.table.snapshot.Load() // after the links, which bring it
		if _, ok := table.Find(namespace, procedure); ok {
			return nil
		}
		if c.life.ctx.Err() != nil {
			return c.identity.nodeClosedError()
		}
		a := c.absence(table, namespace, procedure, links)
		a.redialLinks()
		if !a.linkOpening() && (!patient || !a.temporary()) {
			return a.failure(a.code(), "")
		}
		select {
		case <-changed:
		case <-moved:
		case <-letGo:
			return errAbsent
		case <-c.life.ctx.Done():
		case <-remind.c():
			remind.log("a call waits for its function", "procedure", procedure, "namespace", namespace, "why", a.String())
		case <-timeUp:
			return a.failure(connect.CodeDeadlineExceeded, waitTimeoutText).WithCause(context.DeadlineExceeded)
		case <-ctx.Done():
			return a.failure(codeOfContext(ctx), waitTimeoutText).WithCause(context.Cause(ctx))
		}
	}
}

const waitTimeoutText = "the call waited in vain for its function: "

// timerAt returns a channel for a time, nil for none.
func timerAt(at time.Time) (c <-chan time.Time, stop func()) {
	if at.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(at))
	return timer.C, func() { timer.Stop() }
}
