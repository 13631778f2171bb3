package rawcall_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

type canceler struct{ canceled atomic.Int32 }

func (c *canceler) Cancel() { c.canceled.Add(1) }

// TestCancel has a call canceled before and after it has begun: what it runs by is told, or finds out.
func TestCancel(t *testing.T) {
	var early, late rawcall.Call
	run := new(canceler)
	early.Cancel()
	if !early.SetRun(run) || !early.Canceled() || run.canceled.Load() != 0 {
		t.Errorf("canceled before: %v, told %d times", early.Canceled(), run.canceled.Load())
	}
	if late.SetRun(run) || late.Canceled() {
		t.Error("canceled from the start")
	}
	late.Cancel()
	if run.canceled.Load() != 1 || !late.Canceled() {
		t.Errorf("canceled after: %v, told %d times", late.Canceled(), run.canceled.Load())
	}
}

// TestCancelRace has a call begin and be canceled at once: one of the two sees the other.
func TestCancelRace(t *testing.T) {
	for range 1000 {
		var c rawcall.Call
		run, canceled := new(canceler), make(chan struct{})
		go func() {
			defer close(canceled)
			c.Cancel()
		}()
		found := c.SetRun(run)
		<-canceled
		if !found && run.canceled.Load() == 0 {
			t.Fatal("the cancellation was lost")
		}
	}
}

func TestKeepResponse(t *testing.T) {
	var c rawcall.Call
	if c.Kept() {
		t.Error("kept from the start")
	}
	c.KeepResponse()
	if !c.Kept() {
		t.Error("not kept")
	}
}

func TestOutside(t *testing.T) {
	if o := rawcall.OutsideOf(t.Context()); o != nil {
		t.Errorf("outside: %+v", o)
	}
	want := rawcall.Outside{Gateway: "g", Token: "t", Addr: "a"}
	ctx, cancel := context.WithCancel(rawcall.WithOutside(t.Context(), want))
	defer cancel()
	if o := rawcall.OutsideOf(ctx); o == nil || *o != want {
		t.Errorf("outside: %+v", o)
	}
}
