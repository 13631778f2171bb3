package frame

import (
	"math/rand/v2"
	"reflect"
	"strconv"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// randomOpen returns the body of an Open out of few values, with fields that are missing, come twice, out of order, or
// are wrong.
func randomOpen(random *rand.Rand) []byte {
	var b []byte
	names := [...]string{"", "a", "b", "\xff", string(make([]byte, maxNamespace+1))}
	for range random.IntN(7) {
		switch field := random.IntN(12); field {
		case 0, 1, 2, 5:
			b = appendString(b, []byte{tagNamespace, tagProcedure, tagOriginNamespace, 0, 0, tagOpenHeaders}[field], names[min(random.IntN(40), 9)%len(names)])
		case 3, 4:
			b = appendBytes(b, tagOrigin, make([]byte, 16-random.IntN(20)/19))
		case 6, 7:
			b = protowire.AppendVarint(append(b, tagTimeout), uint64(random.IntN(300)))
		case 8:
			b = append(b, tagStreamType, byte(random.IntN(4)))
		case 9:
			b = (&Caller{Node: nodeid.ID{1}, Name: names[random.IntN(3)]}).AppendTo(b)
		case 10:
			b = append(b, 15<<3, 1) // of later versions
		case 11:
			b = append(b, tagNamespace, 0x81, 0, 'c') // an overlong length
		}
	}
	return b[:len(b)-random.IntN(40)/39*random.IntN(len(b)+1)]
}

// TestOpenCache reads opens one after the other, and each by itself: what was read before makes no difference, and what
// is known stays what it was.
func TestOpenCache(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var cache OpenCache
	known := map[*Callee]Callee{}
	again := 0
	for range 3_000 {
		raw := randomOpen(random)
		var got, want Open
		gotErr, wantErr := got.Parse(raw, &cache), want.Parse(raw, new(OpenCache))
		if (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("%x: %v; by itself %v", raw, gotErr, wantErr)
		}
		if wantErr != nil {
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%x: %+v of %+v; by itself %+v of %+v", raw, got, got.Callee, want, want.Callee)
		}
		if got.Cached {
			if before, ok := known[got.Callee]; ok {
				again++
				if before != *got.Callee {
					t.Fatalf("%x: what is known has changed from %v to %v", raw, before, *got.Callee)
				}
			}
			known[got.Callee] = *got.Callee
		}
	}
	if len(cache.entries) > maxCachedCallees || again < 1_000 {
		t.Errorf("%d callees are kept; %d were known", len(cache.entries), again)
	}
}

// TestOpenCacheIsBounded: a peer that names ever new functions fills nothing.
func TestOpenCacheIsBounded(t *testing.T) {
	var cache OpenCache
	for i := range 3 * maxCachedCallees {
		raw := appendString(appendString(nil, tagNamespace, "n"), tagProcedure, strconv.Itoa(i))
		var in Open
		if err := in.Parse(raw, &cache); err != nil || !in.Cached {
			t.Fatalf("%v, %v", in.Callee, err)
		}
		if len(cache.entries) > maxCachedCallees {
			t.Fatalf("%d are kept", len(cache.entries))
		}
	}
	long := appendString(nil, tagProcedure, string(make([]byte, maxCachedCallee)))
	var in Open
	if err := in.Parse(long, &cache); err != nil || in.Cached {
		t.Errorf("a name of %d bytes: known %v, %v", maxCachedCallee, in.Cached, err)
	}
}
