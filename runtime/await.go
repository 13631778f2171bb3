package rpcmesh

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
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

// errAbsent means that no origin of a function can be reached. Callers never see it: awaitFunction returns the
// reason.
var errAbsent = errors.New("the function has no origin within reach")

// awaitRoute finds the route of the first attempt. Where waiting may help, it waits.
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

// awaitFunction returns nil once procedure can be called. It waits while a link that may bring the function is being
// opened, and longer for a call that [WaitForReady] applies to; at most until the deadline, if there is one, until
// released is closed or until ctx ends. Otherwise it returns at once why the function cannot be called. It does not
// take the table's lock.
func (c *calls) awaitFunction(
	ctx context.Context, deadline time.Time, namespace, procedure string, released <-chan struct{},
) error {
	patient := waitsForReady(ctx)
	remind := newReminder(c.log.Logger, !deadline.IsZero())
	defer remind.stop()
	timeUp, stop := timerAt(deadline)
	defer stop()
	for {
		_, changed := c.table.snapshotAndChange()
		links, moved := c.links.states(namespace)
		table := c.table.snapshot.Load() // read after the links, which may have just brought the function
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
		case <-released:
			return errAbsent
		case <-c.life.ctx.Done():
		case <-remind.c():
			remind.log("a call waits for its function", "procedure", procedure, "namespace", namespace, "why", a.String())
		case <-timeUp:
			return a.failure(connect.CodeDeadlineExceeded, waitTimeoutText).WithCause(context.DeadlineExceeded)
		case <-ctx.Done():
			return a.failure(coded.OfContext(ctx.Err()), waitTimeoutText).WithCause(context.Cause(ctx))
		}
	}
}

const waitTimeoutText = "the call waited in vain for its function: "

// timerAt returns a channel that fires at a time; nil for the zero time.
func timerAt(at time.Time) (c <-chan time.Time, stop func()) {
	if at.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(at))
	return timer.C, func() { timer.Stop() }
}
