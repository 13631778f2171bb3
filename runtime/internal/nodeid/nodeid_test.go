package nodeid_test

import (
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

func TestID(t *testing.T) {
	a, b := nodeid.ID{0xab, 7: 1, 15: 1}, nodeid.ID{0xab, 7: 1, 15: 2}
	if got := a.String(); got != "ab000000000000010000000000000001" {
		t.Errorf("String: %s", got)
	}
	if got := b.Short(); got != "ab00000000000001" {
		t.Errorf("Short: %s", got)
	}
	same := a
	if a.Compare(b) != -1 || b.Compare(a) != 1 || a.Compare(same) != 0 {
		t.Errorf("Compare: %d, %d, %d", a.Compare(b), b.Compare(a), a.Compare(same))
	}
}
