package rpcmesh

import (
	"bytes"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

func message(n int) *link.Buffer { return link.CopyBuffer(bytes.Repeat([]byte{'m'}, n)) }

// TestReplayBufferBounds: a stream's requests are kept up to maxReplay, overhead counted, and none once one did not
// fit.
func TestReplayBufferBounds(t *testing.T) {
	const most = maxReplay / (1 + replayOverhead)
	var r replayBuffer
	for i := range most {
		if !r.add(message(1), true) {
			t.Fatalf("message %d of %d is not kept", i+1, most)
		}
	}
	if r.add(message(replayOverhead+1), true) {
		t.Error("more than maxReplay is kept")
	}
	if !r.overflowed || len(r.share()) != 0 {
		t.Errorf("overflowed %t, with %d messages", r.overflowed, len(r.share()))
	}
	if r.add(message(1), true) {
		t.Error("a message is kept after one was not")
	}
}

// TestReplayBufferKeepsAnySingleRequest: the request of a call that has one is kept, however long.
func TestReplayBufferKeepsAnySingleRequest(t *testing.T) {
	var r replayBuffer
	if !r.add(message(2*maxReplay), false) || len(r.share()) != 1 {
		t.Error("a long request is not kept")
	}
}

// TestReplayBufferTakesBack: only what was added last can be taken back, and makes room.
func TestReplayBufferTakesBack(t *testing.T) {
	var r replayBuffer
	first, second := message(1), message(maxReplay/2)
	r.add(first, true)
	r.add(second, true)
	r.removeLast(first)
	if len(r.messages) != 2 {
		t.Fatal("another message than the last is taken back")
	}
	r.removeLast(second)
	if got := r.share(); len(got) != 1 || got[0] != first {
		t.Fatalf("left: %d messages", len(got))
	}
	if !r.add(message(maxReplay/2), true) || !r.add(message(maxReplay/4), true) {
		t.Error("what was taken back still takes room")
	}
}

// TestReplayBufferFreesOnlyWhatNobodyReads: messages that a Send or another attempt may read are not used again.
func TestReplayBufferFreesOnlyWhatNobodyReads(t *testing.T) {
	for what, read := range map[string]func(r *replayBuffer){
		"a Send":          func(r *replayBuffer) { r.sending++ },
		"another attempt": func(r *replayBuffer) { r.share() },
	} {
		var r replayBuffer
		b := message(1)
		r.add(b, true)
		read(&r)
		r.drop()
		if len(r.messages) != 0 || string(b.B) != "m" {
			t.Errorf("%s reads %q", what, b.B)
		}
	}
}
