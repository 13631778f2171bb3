package h2serve_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// TestBufferedByWindows has windows of all sizes take an answer bit by bit: it comes in full and in order, in however many
// pieces it was given, whether they are kept or copied.
func TestBufferedByWindows(t *testing.T) {
	long := make([]byte, 2000)
	for i := range long {
		long[i] = byte(i)
	}
	for name, body := range map[string][][]byte{
		"one piece": {long}, "a prefix": {{1, 2, 3, 4, 5}, long}, "three pieces": {{1, 2, 3}, {}, long}, "an empty piece": {{}, long},
	} {
		for _, window := range []uint32{0, 3, 5, 6, 1000} {
			for _, kept := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/%v", name, window, kept), func(t *testing.T) {
					testByWindows(t, body, window, kept)
				})
			}
		}
	}
}

func testByWindows(t *testing.T, body [][]byte, window uint32, kept bool) {
	p := &prompt{resp: h2serve.Response{
		Head: []hpack.HeaderField{{Name: ":status", Value: "200"}}, Body: append([][]byte(nil), body...), Kept: kept,
		Trailer: []hpack.HeaderField{{Name: "end", Value: "well"}},
	}}
	near, far := net.Pipe()
	g := targetOver(t, near, far, h2serve.Options{Buffered: func(*h2serve.Request) h2serve.BufferedHandlers { return p }})
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		g.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
		g.do(open(g.peer, 1, false), g.WriteData(1, true, []byte("x")))
		for range 10 {
			g.do(g.WriteWindowUpdate(1, 250))
		}
	}()
	var got []byte
	for ended := false; !ended; {
		f, ok := g.next()
		if !ok {
			t.Fatalf("the connection ended after %d bytes", len(got))
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			got = append(got, f.Data()...)
		case *http2.MetaHeadersFrame:
			ended = f.StreamEnded()
		}
	}
	if want := bytes.Join(body, nil); !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want %d: %.20x", len(got), len(want), got)
	}
	go func() { // the last updates, which nobody waits for
		for {
			if _, ok := g.next(); !ok {
				return
			}
		}
	}()
	<-asked
}
