package h2link

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// seedFrames adds to s some of all that a peer can say.
func seedFrames(s *http2.Framer) {
	_ = s.WriteData(1, false, envelope(0, "hello"))
	_ = s.WriteDataPadded(1, false, envelope(0, "padded"), make([]byte, 3))
	_ = s.WriteData(1, false, envelope(0, "half")[:7])
	_ = s.WriteData(1, false, []byte("lf"))
	_ = s.WritePing(false, [8]byte{1})
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 20_000}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	_ = s.WriteWindowUpdate(0, 100)
	_ = s.WriteWindowUpdate(1, 100)
	_ = s.WriteRawFrame(0xee, 0xff, 1, []byte("unknown"))
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: encodeHeaderBlock(callHead...), Priority: http2.PriorityParam{Weight: 1}})
	_ = s.WriteContinuation(3, true, encodeHeaderBlock("x", "y"))
	_ = s.WriteRSTStream(3, http2.ErrCodeCancel)
	_ = s.WriteGoAway(1, http2.ErrCodeNo, []byte("debug"))
	_ = s.WriteData(1, true, envelope(flagEndStream, `{"error":{"code":"not_found","details":[{"type":"a","value":"AA"}]}}`))
}

// check reads all that a peer has said, in pieces, and holds the Conn to what it promises.
func check(t *testing.T, c *Conn, conn *scripted) {
	var err error
	for err == nil {
		buffered, reads := c.Buffered(), conn.reads
		var p []byte
		if p, err = c.Receive(); len(p) > c.opts.MaxMessage {
			t.Errorf("received %d bytes", len(p))
		}
		if buffered && conn.reads != reads {
			t.Error("what was buffered had to be read")
		}
	}
	checkError(t, err)
	if _, again := c.Receive(); !errors.Is(again, err) {
		t.Errorf("received %v after %v", again, err)
	}
	c.Close(err)
	if len(c.state.control.buf) > maxControl+1000 || cap(c.reading.msg.body) > 2*c.opts.MaxMessage+netio.MaxBuffer {
		t.Error("a bound was passed")
	}
}

func checkError(t *testing.T, err error) {
	if _, ok := errors.AsType[*connect.Error](err); !ok && err != io.EOF {
		t.Errorf("%T is no error for a caller: %v", err, err)
	}
}

func FuzzServer(f *testing.F) {
	s := newScript()
	seedFrames(s.Framer)
	f.Add(s.Bytes(), uint64(0))
	f.Add([]byte(http2.ClientPreface), uint64(1))
	f.Fuzz(func(t *testing.T, said []byte, seed uint64) {
		conn := &scripted{pieces: pieces(rand.New(rand.NewPCG(seed, 0)), said)}
		c, err := Accept(conn, Options{MaxMessage: 1000, Window: 50_000})
		if err != nil {
			checkError(t, err)
			return
		}
		check(t, c, conn)
	})
}

func FuzzClient(f *testing.F) {
	var b bytes.Buffer
	s := http2.NewFramer(&b, nil)
	_ = s.WriteSettings()
	_ = s.WriteSettingsAck()
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encodeHeaderBlock(":status", "103"), EndHeaders: true})
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encodeHeaderBlock(":status", "200", "content-type", contentType), EndHeaders: true})
	seedFrames(s)
	f.Add(b.Bytes(), uint64(0))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint64(1))
	f.Fuzz(func(t *testing.T, said []byte, seed uint64) {
		conn := &scripted{pieces: pieces(rand.New(rand.NewPCG(seed, 0)), said)}
		c, err := Open(t.Context(), conn, "node.test", Options{MaxMessage: 1000, Window: 50_000})
		if err != nil {
			t.Fatal(err)
		}
		check(t, c, conn)
	})
}

// randomFrames makes frames of p, each framed well: its type, flags, stream, length and payload.
func randomFrames(s *http2.Framer, p []byte) {
	for len(p) >= 4 {
		kind, flags, stream, n := p[0]%12, p[1], p[2], int(p[3])
		n = min(n, len(p)-4)
		_ = s.WriteRawFrame(http2.FrameType(kind), http2.Flags(flags), uint32(stream%8), p[4:4+n])
		p = p[4+n:]
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 1, 7, 0, 0, 0, 0, 2, 'h', 'i', 6, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8}, false, uint64(0))
	f.Add([]byte{8, 0, 1, 4, 0, 0, 1, 0, 4, 0, 0, 6, 0, 4, 0, 0, 0, 1, 0, 1, 1, 7, 2, 0, 0, 0, 2, '{', '}'}, true, uint64(1))
	f.Add([]byte{1, 0, 3, 2, 0x82, 0x84, 9, 4, 3, 1, 0x86, 3, 0, 3, 4, 0, 0, 0, 8, 7, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0}, false, uint64(2))
	f.Fuzz(func(t *testing.T, p []byte, client bool, seed uint64) {
		s := newScript()
		o := Options{MaxMessage: 1000, Window: 50_000}
		r := rand.New(rand.NewPCG(seed, 0))
		var c *Conn
		var conn *scripted
		var err error
		if client {
			s.Reset()
			_ = s.WriteSettings()
			_ = s.WriteSettingsAck()
			block := encodeHeaderBlock(":status", "200", "content-type", contentType)
			_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
			randomFrames(s.Framer, p)
			conn = &scripted{pieces: pieces(r, s.Bytes())}
			c, err = Open(t.Context(), conn, "node.test", o)
		} else {
			randomFrames(s.Framer, p)
			conn = &scripted{pieces: pieces(r, s.Bytes())}
			c, err = Accept(conn, o)
		}
		if err != nil {
			t.Fatal(err)
		}
		check(t, c, conn)
	})
}

// What is judged of a connection does not change with how its first bytes are cut.
func FuzzDetectProtocol(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(newScript().Bytes())
	f.Add(append([]byte(http2.ClientPreface), 0, 0, 0, 5, 0, 0, 0, 0, 0))
	f.Add(append([]byte(http2.ClientPreface), 0, 0, 6, 4, 0, 0, 0, 0, 0, 0xf4, 0xd5, 'm', 'e', 's', 'h'))
	f.Fuzz(func(t *testing.T, p []byte) {
		whole := detectProtocol(p)
		if len(p) >= sniffSize && whole == protocolUnknown {
			t.Error("undecided by all it may see")
		}
		for i := range p[:min(len(p), sniffSize)] {
			if v := detectProtocol(p[:i]); v != protocolUnknown && v != whole {
				t.Errorf("judged %v by %d bytes, %v by all", v, i, whole)
			}
		}
	})
}

func FuzzEndOfStream(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add(encodeEndStream(errRefused)[HeadRoom:])
	f.Fuzz(func(t *testing.T, body []byte) {
		err := parseEndStream(body)
		if err == nil {
			return
		}
		checkError(t, err)
		// What has been read is written and read the same.
		again := parseEndStream(encodeEndStream(err)[HeadRoom:])
		a, _ := errors.AsType[*connect.Error](err)
		b, ok := errors.AsType[*connect.Error](again)
		if !ok || a.Code() != b.Code() || a.Message() != b.Message() || len(a.Details()) != len(b.Details()) {
			t.Errorf("%v became %v", err, again)
		}
	})
}
