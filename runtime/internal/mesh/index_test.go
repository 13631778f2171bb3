package mesh

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// TestIndex changes an index at random, and compares it, and all that were frozen on the way, with
// maps.
func TestIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	x, want := newIndex(), map[string]*item{}
	type frozen struct {
		x    index
		want map[string]*item
	}
	var old []frozen
	for step := range 60_000 {
		key := fmt.Sprintf("/t.S/F%d", rnd.IntN(8000))
		if grow := step < 40_000; rnd.IntN(4) == 0 == grow {
			x.set(key, nil)
			delete(want, key)
		} else {
			it := &item{fn: Function{Procedure: key}}
			x.set(key, it)
			want[key] = it
		}
		if step%6000 == 5999 {
			old = append(old, frozen{x.freeze(), maps.Clone(want)})
		}
	}
	old = append(old, frozen{x, want})
	for i, f := range old {
		got := map[string]*item{}
		for it := range f.x.all {
			if got[it.fn.Procedure] != nil {
				t.Fatalf("version %d yields %s twice", i, it.fn.Procedure)
			}
			got[it.fn.Procedure] = it
		}
		if !maps.Equal(got, f.want) || f.x.size != len(f.want) {
			t.Fatalf("version %d yields %d items of size %d, want %d", i, len(got), f.x.size, len(f.want))
		}
		for n := range 8000 {
			key := fmt.Sprintf("/t.S/F%d", n)
			if f.x.get(key) != f.want[key] {
				t.Fatalf("version %d has another item of %s", i, key)
			}
		}
	}
}
