package rpcmesh

import "github.com/rpcmesh/rpcmesh/runtime/internal/link"

// attempt is one try of a call, over a link or by a handler of this node:
//
//	unopened --> replaying --> open --> ended
//	    +-- the first one ------>+
//
// While it is replaying, it is being sent what earlier attempts were sent. How it has ended its [link.ClientCall] says;
// another one may take its place. Its owner's lock guards it.
type attempt struct {
	call     *link.ClientCall // nil: unopened
	replayed chan struct{}    // closed at the end of replaying; nil for the first attempt
}

// replaying returns a channel that is closed at the end of replaying, and nil unless the attempt is.
func (a *attempt) replaying() <-chan struct{} {
	select {
	case <-a.replayed:
		return nil
	default:
		return a.replayed
	}
}

// replay sends messages, and the end of the requests if all were sent. What fails shows at the next Receive.
func replay(call *link.ClientCall, messages []*link.Buffer, all bool) {
	for _, b := range messages {
		_ = call.Send(b.B) // fails as the next Receive does
	}
	if all {
		_ = call.CloseSend() // likewise
	}
}
