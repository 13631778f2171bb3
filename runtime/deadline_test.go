package rpcmesh

import (
	"testing"
	"time"
)

// TestCallsDoNotWaitForTheNodesLock: what a call does that is tried again waits for no one who works on tables,
// which may take longer than the call has.
func TestCallsDoNotWaitForTheNodesLock(t *testing.T) {
	n, err := NewNode(Config{Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	table := n.table.snapshot.Load()
	n.table.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.table.awaitChange(t.Context(), table, time.Millisecond)
		spawned := make(chan struct{})
		if n.life.spawn(func() { close(spawned) }) {
			<-spawned
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
	n.table.mu.Unlock()
	<-done
}
