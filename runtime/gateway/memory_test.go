package gateway

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
)

// TestRoom: no more is taken than there is, and all get theirs in the end, those who want more than there is too.
func TestRoom(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	synctest.Test(t, func(t *testing.T) {
		const size = 100
		r := newMemoryBudget(size)
		var taken, waits atomic.Int64
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				chance := rand.New(rand.NewPCG(seed, uint64(i)))
				for range 20 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(chance.IntN(1000))*time.Millisecond)
					n := 1 + chance.IntN(2*size)
					giveBack, err := r.acquire(ctx, n)
					cancel()
					if err != nil {
						waits.Add(1)
						if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
							t.Error(err)
						}
						continue
					}
					if now := taken.Add(int64(min(n, size))); now > size {
						t.Errorf("%d are taken", now)
					}
					time.Sleep(time.Duration(chance.IntN(10)) * time.Millisecond) // fake time
					taken.Add(-int64(min(n, size)))
					giveBack()
				}
			})
		}
		all.Wait()
		if r.free != size || r.waiting.Len() > 0 || waits.Load() == 0 {
			t.Errorf("%d are free, %d wait, %d waited too long", r.free, r.waiting.Len(), waits.Load())
		}
	})
}

// TestRoomInTurn: who wants much is not passed by for ever by those who want little, and in going lets them through.
func TestRoomInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMemoryBudget(10)
		first, err := r.acquire(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		var much, little atomic.Bool
		go func() {
			_, err := r.acquire(ctx, 10)
			much.Store(err == nil)
		}()
		synctest.Wait()
		go func() {
			if giveBack, err := r.acquire(t.Context(), 1); err == nil {
				little.Store(true)
				giveBack()
			}
		}()
		synctest.Wait()
		if much.Load() || little.Load() {
			t.Error("somebody did not wait in turn")
		}
		leave()
		synctest.Wait()
		if much.Load() || !little.Load() {
			t.Error("who came after is not let through")
		}
		first()
		if r.free != 10 {
			t.Errorf("%d are free", r.free)
		}
	})
}
