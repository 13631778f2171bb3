package h2link

import (
	"bytes"
	"context"
	"testing"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// The peer may send by this end's SETTINGS from when it has them, however late its acknowledgement comes, and by
// those that hold before until it has acknowledged.
func TestSettingsCross(t *testing.T) {
	tests := map[string]struct {
		window    int
		before    int // bytes of messages that may come before the acknowledgement
		overStill int // and then are too many
	}{
		"larger window":  {window: 200_000, before: 200_000},
		"smaller window": {window: 100, before: h2core.InitialWindow, overStill: 101},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			message := make(chan []byte, 1)
			p, result := clientOf(t, Options{Window: test.window}, func(c *Conn) error {
				m, err := c.Receive()
				if err != nil {
					return err
				}
				message <- bytes.Clone(m)
				return drainConn(c)
			})
			want := noise(test.before - 5)
			p.enqueue(func() {
				p.call()
				p.check(p.WriteData(1, false, envelope(0, string(want))))
			})
			select {
			case got := <-message:
				if !bytes.Equal(got, want) {
					t.Error("another message came")
				}
			case err := <-result:
				t.Fatalf("before the acknowledgement: %v", err)
			}
			if test.overStill > 0 {
				p.enqueue(func() { p.check(p.WriteSettingsAck(), p.WriteData(1, false, make([]byte, test.overStill))) })
				p.wantGoAway(http2.ErrCodeFlowControl)
				_ = p.nc.Close()
				wantError(t, result, connect.CodeInternal, "beyond the stream's window")
			}
		})
	}
}

// This end sends by the peer's SETTINGS only behind their acknowledgement: the peer may hold what comes before to
// those that held before.
func TestAcknowledgementGoesFirst(t *testing.T) {
	sends := map[string]func(*Conn, []byte) (bool, error){
		"Send":    func(c *Conn, p []byte) (bool, error) { return true, c.Send(p) },
		"TrySend": (*Conn).TrySend,
	}
	for name, send := range sends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := tcpPair(t)
			p := newPeer(t, near)
			p.SetMaxReadFrameSize(maxFrame)
			c, err := Open(context.WithoutCancel(t.Context()), far, "node.test", Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(errTestOver)
			p.request()
			p.check(p.WriteSettings(
				http2.Setting{ID: http2.SettingInitialWindowSize, Val: h2core.MaxWindow},
				http2.Setting{ID: http2.SettingMaxFrameSize, Val: maxFrame},
			), p.WriteWindowUpdate(0, maxFrame))
			for range 2 { // as Receive does, before it flushes
				if err := c.nextFrame(); err != nil {
					t.Fatal(err)
				}
			}
			sent, err := send(c, packet(make([]byte, h2core.InitialWindow)))
			if err != nil {
				t.Fatal(err)
			}
			if !sent {
				if err := c.Send(packet(make([]byte, h2core.InitialWindow))); err != nil {
					t.Fatal(err)
				}
			}
			awaitAckBeforeData(p)
		})
	}
}

func awaitAckBeforeData(p *peer) {
	p.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.Fatal(err)
		}
		if s, ok := f.(*http2.SettingsFrame); ok && s.IsAck() {
			return
		}
		if d, ok := f.(*http2.DataFrame); ok {
			p.Fatalf("%d bytes of DATA before the acknowledgement", d.Length)
		}
	}
}
