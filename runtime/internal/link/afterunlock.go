package link

import (
	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// afterUnlock is what a frame leaves to be done once the lock is released that it was handled under: what takes another
// lock, calls code of a user's, or wakes a goroutine that would only wait for the lock. It is a value, so that it costs
// no allocation. The zero value is nothing.
type afterUnlock struct {
	kind       afterKind
	wake       signal         // afterWake
	completion Completion     // afterComplete
	call       *ServerCall    // afterCancel: its context is to end
	err        *connect.Error // by this error
	relay      *relayEndpoint // afterForward, afterEnd: the other endpoint of a relay
	end        *relayEnd      // afterEnd
}

type afterKind uint8

const (
	afterNothing afterKind = iota
	afterWake
	afterComplete
	afterCancel
	afterForward         // the frame
	afterForwardUnqueued // the frame, on a relay at whose source nothing was ever queued
	afterEnd             // the call at the relay's other endpoint
)

// run does what is left. f is the frame that s has received. Called by the reader of s, without a lock.
func (a *afterUnlock) run(s *Session, f *frame.Frame) {
	switch a.kind {
	case afterNothing:
	case afterWake:
		a.wake.Signal()
	case afterComplete:
		if o := a.completion.CallDone(); o != nil {
			s.scheduleFlush(o)
		}
	case afterCancel:
		a.call.context().cancel(contextCause(a.err))
	case afterForward:
		a.relay.forward(f, false)
	case afterForwardUnqueued:
		a.relay.forward(f, true)
	case afterEnd:
		a.relay.endFor(a.end)
	}
}
