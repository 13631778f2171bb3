package rpcmesh

import (
	"slices"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const (
	// maxReplay bounds, in bytes, the requests of a stream that are kept for another attempt. Each message counts
	// replayOverhead more than its length.
	maxReplay      = 64 << 10
	replayOverhead = 16
)

// replayBuffer keeps the requests that a call has sent, for another attempt to send again. Its owner's lock guards it.
type replayBuffer struct {
	messages   []*link.Buffer
	space      [1]*link.Buffer // that messages begins with
	size       int             // of all that was added, with its overhead
	sending    int             // Sends that are under way, each of which reads its message
	shared     bool            // another attempt may read messages
	overflowed bool            // there was no room for a message
}

// add keeps b, and reports whether it does. A stream's messages are kept up to maxReplay; once one does not fit,
// none is kept any more.
func (r *replayBuffer) add(b *link.Buffer, stream bool) bool {
	if r.overflowed {
		return false
	}
	if r.size == 0 {
		r.messages = r.space[:0]
	}
	r.size += len(b.B) + replayOverhead
	if stream && r.size > maxReplay {
		r.overflowed = true
		r.drop()
		return false
	}
	r.messages = append(r.messages, b)
	return true
}

// removeLast takes b back if it was added last.
func (r *replayBuffer) removeLast(b *link.Buffer) {
	last := len(r.messages) - 1
	if last >= 0 && r.messages[last] == b {
		r.messages = r.messages[:last]
		r.size -= len(b.B) + replayOverhead
	}
}

// share returns the messages for another attempt.
func (r *replayBuffer) share() []*link.Buffer {
	r.shared = true
	return slices.Clone(r.messages)
}

// drop lets go of the messages. Those that a Send or an attempt may still read are left to the garbage collector.
func (r *replayBuffer) drop() {
	if r.sending == 0 && !r.shared {
		for _, b := range r.messages {
			b.Free()
		}
	}
	r.messages = nil
}
