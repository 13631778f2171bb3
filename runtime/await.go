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
		if err := a.ns.awaitFunction(a.ctx, a.deadline.at, a.spec.Procedure, nil); err != nil {
			return err
		}
		err = a.findRoute()
	}
	return err
}

// awaitFunction returns nil once procedure can be called. It waits for that while a link is about to bring it, and
// for a call that is to wait, see [WaitForReady]; until the deadline, if there is one, or letGo closes. Else it
// returns at once why not. It does not wait for the node's lock.
func (ns *Namespace) awaitFunction(ctx context.Context, deadline time.Time, procedure string, letGo <-chan struct{}) error {
	n, patient := ns.node, waitsForReady(ctx)
	remind := n.newReminder(!deadline.IsZero())
	defer remind.stop()
	timeUp, stop := timerAt(deadline)
	defer stop()
	for {
		_, changed := n.tableAndChange()
		links, moved := ns.linkStates()
		table := n.table.Load() // after the links, which bring it
		if _, ok := table.Find(ns.name, procedure); ok {
			return nil
		}
		if n.ctx.Err() != nil {
			return n.nodeClosedError()
		}
		a := ns.absence(table, procedure, links)
		a.redialLinks()
		if !a.linkOpening() && (!patient || !a.temporary()) {
			return a.failure(a.code(), "")
		}
		select {
		case <-changed:
		case <-moved:
		case <-letGo:
			return errAbsent
		case <-n.ctx.Done():
		case <-remind.c():
			remind.log("a call waits for its function", "procedure", procedure, "namespace", ns.name, "why", a.String())
		case <-timeUp:
			return a.failure(connect.CodeDeadlineExceeded, waitTimeoutText).WithCause(context.DeadlineExceeded)
		case <-ctx.Done():
			return a.failure(codeOfContext(ctx), waitTimeoutText).WithCause(context.Cause(ctx))
		}
	}
}

const waitTimeoutText = "the call waited in vain for its function: "

// nodeClosedError is the error of a call of a node that is closed.
func (n *Node) nodeClosedError() error {
	return n.leavingInfo().with(n.failed(connect.CodeUnavailable, notStarted, "the node is closed: make the call by another one, or by a new one"))
}

func (n *Node) leavingInfo() ErrorInfo {
	return ErrorInfo{Reason: ReasonNodeLeaving, Metadata: map[string]string{"node": n.name}}
}

// timerAt returns a channel for a time, nil for none.
func timerAt(at time.Time) (c <-chan time.Time, stop func()) {
	if at.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(at))
	return timer.C, func() { timer.Stop() }
}
