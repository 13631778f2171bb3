package frame

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// TestCallerWire holds what is written of a caller to the generated code, and what is read to what was written.
func TestCallerWire(t *testing.T) {
	for name, c := range map[string]*Caller{
		"a node":   {Node: nodeid.ID{1, 15: 2}},
		"all":      {Node: nodeid.ID{1}, Name: "n", Gateway: "g", Token: "t", Proxy: "p", Address: "a"},
		"the most": {Node: nodeid.ID{1}, Name: strings.Repeat("n", 256), Gateway: strings.Repeat("ü", 128), Address: strings.Repeat("a", 200)},
	} {
		open := Open{Callee: &Callee{Namespace: "n", Procedure: "p"}, Caller: c}
		raw := open.AppendTo(nil, 0, nil, 0)
		frame := new(linkv1.Frame)
		if err := proto.Unmarshal(raw, frame); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := &linkv1.Caller{Node: c.Node[:], Name: c.Name, Gateway: c.Gateway, Token: c.Token, Proxy: c.Proxy, Address: c.Address}
		if diff := cmp.Diff(want, frame.GetOpen().GetCaller(), protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		body, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseCaller(protowire.AppendString(protowire.AppendTag(body, 99, protowire.BytesType), "of a later release"))
		if err != nil || *got != *c {
			t.Errorf("%s: read %+v, %v", name, got, err)
		}
	}
}

// TestCallerCache: what is said again is one Caller, without memory for it, and however much is said is bounded.
func TestCallerCache(t *testing.T) {
	var cache callerCache
	said := func(name string) []byte {
		id := nodeid.ID{1}
		b, err := proto.Marshal(&linkv1.Caller{Node: id[:], Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, two := said("one"), said("two")
	first, err := cache.lookup(one)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, raw := range [][]byte{one, two, two} {
			if c, err := cache.lookup(raw); err != nil || (c == first) != (c.Name == "one") {
				t.Fatal(c, err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range 3 * maxCachedCallers {
		if c, err := cache.lookup(said(strconv.Itoa(i))); err != nil || c.Name != strconv.Itoa(i) {
			t.Fatal(c, err)
		}
		if len(cache.entries) > maxCachedCallers {
			t.Fatalf("%d callers are kept", len(cache.entries))
		}
	}
}

func FuzzCaller(f *testing.F) {
	f.Add([]byte("\x0a\x10aaaaaaaaaaaaaaaa\x12\x01n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseCaller(raw)
		if err != nil {
			return
		}
		for _, text := range c.texts() {
			if len(text) > MaxCallerText || !utf8.ValidString(text) || CallerText(text) != text {
				t.Fatalf("accepted %q", text)
			}
		}
		if again, err := parseCaller(c.AppendTo(nil)[1+protowire.SizeVarint(uint64(c.size())):]); err != nil || *again != *c {
			t.Fatalf("read %+v, %v; want %+v", again, err, c)
		}
	})
}
