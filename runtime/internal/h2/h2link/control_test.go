package h2link

import (
	"bytes"
	"net"
	"slices"
	"testing"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// recorder is a connection of which each write is kept.
type recorder struct {
	net.Conn
	writes [][]byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.writes = append(r.writes, bytes.Clone(p))
	return len(p), nil
}

// TestControlFollowsData has what is waiting to be said leave in the write of a packet, behind its last frame. Where
// there is no room, in its slice or before the next frame, it takes a write of its own.
func TestControlFollowsData(t *testing.T) {
	for _, maxFrame := range []int{1 << 20, 50_000} {
		near, far := net.Pipe()
		r := &recorder{Conn: near}
		c := newConn(r, true, nil, Options{})
		c.state.streamID = 1
		c.state.peer.MaxFrame = maxFrame
		c.state.streamOutflow = h2core.NewOutflow(h2core.MaxWindow)
		c.state.connOutflow = h2core.NewOutflow(h2core.MaxWindow)
		var want []byte
		pings := 0
		for i := range 8 {
			msg := bytes.Repeat([]byte{byte(i)}, 65_000)
			p := append(make([]byte, HeadRoom, HeadRoom+len(msg)+100), msg...)
			writes := 1
			if i == 7 {
				p = slices.Clip(p)
				_ = c.queue(func(b []byte) []byte { return h2core.AppendPing(b, true, [8]byte{1}) })
				writes = 2
			}
			before := len(r.writes)
			if err := c.Send(p); err != nil {
				t.Fatal(err)
			}
			if n := len(r.writes) - before; n != writes && maxFrame > len(msg) {
				t.Errorf("packet %d left in %d writes, want %d", i, n, writes)
			}
			want = append(append(want, 0, 0, 0, byte(len(msg)>>8), byte(len(msg)&0xff)), msg...)
		}
		fr := http2.NewFramer(nil, bytes.NewReader(bytes.Join(r.writes, nil)))
		fr.SetMaxReadFrameSize(1 << 20)
		var got []byte
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				break
			}
			switch f := f.(type) {
			case *http2.DataFrame:
				got = append(got, f.Data()...)
			case *http2.PingFrame:
				pings++
			default:
				t.Errorf("a frame %v", f)
			}
		}
		if !bytes.Equal(got, want) || pings < 3 {
			t.Errorf("%d bytes of data and %d PINGs were written; want %d bytes", len(got), pings, len(want))
		}
		_, _ = near.Close(), far.Close()
	}
}
