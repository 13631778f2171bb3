package mesh

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// TestSnapshotsDoNotChange reads snapshots of a random cluster while it goes on. It is for the race
// detector, which finds whatever a core changes that a snapshot shares.
func TestSnapshotsDoNotChange(t *testing.T) {
	for seed := range uint64(6) {
		x := newChaos(t, seed)
		shown := make([]atomic.Pointer[Snapshot], len(x.c.nodes))
		done := make(chan struct{})
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
						x.look(shown[i%len(shown)].Load())
					}
				}
			})
		}
		for range 60 {
			x.disturb()
			for range 40 {
				if !x.c.step(x.rnd) {
					break
				}
				i := x.rnd.IntN(len(shown))
				shown[i].Store(x.c.nodes[i].core.Snapshot())
			}
		}
		close(done)
		readers.Wait()
	}
}

// look reads all that a snapshot has.
func (x *chaos) look(s *Snapshot) {
	if s == nil {
		return
	}
	for m := range s.Members() {
		_ = m.Info.GetName()
		for _, ns := range m.Namespaces {
			for f := range s.Functions(ns.Namespace) {
				choice, _ := s.Find(ns.Namespace, f.Function.Procedure)
				for _, t := range choice.Targets {
					s.Path(t)
				}
				s.Route(ns.Namespace, f.Via, f.Namespace, f.Function.Procedure)
			}
			for _, p := range x.fns {
				s.Absent(ns.Namespace, p)
			}
		}
	}
}

// TestSnapshotIsTheSame returns the same snapshot as long as nothing changed.
func TestSnapshotIsTheSame(t *testing.T) {
	c := graph(t, 5, rand.New(rand.NewPCG(1, 1)))
	n := c.nodes[0]
	s := n.core.Snapshot()
	c.settle()
	if n.core.Snapshot() != s {
		t.Error("another one without a change")
	}
	c.must(n.register("default", "/t.S/New"))
	if _, ok := s.Find("default", "/t.S/New"); ok || n.core.Snapshot() == s {
		t.Error("the old one changed")
	}
}
