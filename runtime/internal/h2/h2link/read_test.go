package h2link

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// scripted is a connection whose peer has said all it will ever say, in pieces.
type scripted struct {
	pieces [][]byte
	reads  int
}

func (s *scripted) Read(p []byte) (int, error) {
	s.reads++
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (*scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (*scripted) Close() error                     { return nil }
func (*scripted) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (*scripted) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (*scripted) SetDeadline(time.Time) error      { return nil }
func (*scripted) SetReadDeadline(time.Time) error  { return nil }
func (*scripted) SetWriteDeadline(time.Time) error { return nil }

// script is what a client says, frame by frame.
type script struct {
	bytes.Buffer
	*http2.Framer
}

func newScript() *script {
	s := &script{}
	s.Framer = http2.NewFramer(&s.Buffer, nil)
	s.AllowIllegalWrites = true
	s.WriteString(http2.ClientPreface)
	_ = s.WriteSettings()
	_ = s.WriteSettingsAck() // of what the server has said before
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encodeHeaderBlock(callHead...), EndHeaders: true})
	return s
}

// pieces cuts p into pieces of random length.
func pieces(r *rand.Rand, p []byte) [][]byte {
	var cut [][]byte
	for len(p) > 0 {
		n := 1 + r.IntN(min(len(p), 1+r.IntN(1<<r.IntN(18))))
		cut = append(cut, p[:n])
		p = p[n:]
	}
	return cut
}

// However messages are cut into frames and frames into reads, the messages come out, and when
// Buffered says that one is there, it is.
func TestReceiveOfEveryCut(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := newScript()
		var messages, body []byte
		var sizes []int
		for range 20 {
			m := noise(r.IntN(1 << r.IntN(18)))
			sizes = append(sizes, len(m))
			messages = append(messages, m...)
			body = append(body, envelope(0, string(m))...)
		}
		for _, piece := range pieces(r, body) {
			switch r.IntN(8) {
			case 0:
				_ = s.WriteDataPadded(1, false, piece, make([]byte, r.IntN(256)))
			case 1:
				_ = s.WritePing(false, [8]byte{})
				fallthrough
			default:
				_ = s.WriteData(1, false, piece)
			}
		}
		_ = s.WriteData(1, true, nil)
		script := s.Bytes()
		conn := &scripted{pieces: pieces(r, script)}
		c, err := Accept(conn, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i, size := range sizes {
			buffered, reads := c.Buffered(), conn.reads
			p, err := c.Receive()
			if err != nil || !bytes.Equal(p, messages[:size]) {
				t.Fatalf("seed %d: message %d of %d bytes: got %d, %v", seed, i, size, len(p), err)
			}
			messages = messages[size:]
			if buffered && conn.reads != reads {
				t.Fatalf("seed %d: message %d was not buffered", seed, i)
			}
		}
		if _, err := c.Receive(); err != io.EOF {
			t.Fatalf("seed %d: %v", seed, err)
		}
		c.Close(nil)
	}
}

func TestBuffered(t *testing.T) {
	s := newScript()
	two := slices.Concat(envelope(0, "two in"), envelope(0, "a frame"))
	_ = s.WriteData(1, false, two)
	_ = s.WriteData(1, false, envelope(0, "one in")) // as stock connect-go writes it:
	_ = s.WriteData(1, false, envelope(0, "split")[:5])
	_ = s.WriteData(1, false, []byte("split"))
	_ = s.WriteData(1, false, envelope(0, ""))
	_ = s.WriteData(1, false, envelope(0, "half")[:7])
	c, err := Accept(&scripted{pieces: [][]byte{s.Bytes()}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(nil)
	for _, want := range []string{"two in", "a frame", "one in", "split", ""} {
		if !c.Buffered() {
			t.Errorf("%q is not buffered", want)
		}
		if p, err := c.Receive(); string(p) != want || err != nil {
			t.Errorf("got %q, %v", p, err)
		}
	}
	if c.Buffered() {
		t.Error("half a message is buffered")
	}
	for range 2 {
		if _, err := c.Receive(); err == nil {
			t.Error("received half a message")
		}
		if c.Buffered() {
			t.Error("the end is buffered")
		}
	}
}

// What looks like a message but is padding is not buffered.
func TestBufferedSeesThroughPadding(t *testing.T) {
	var fake bytes.Buffer
	_ = http2.NewFramer(&fake, nil).WriteData(1, false, envelope(0, "fake"))
	s := newScript()
	_ = s.WriteDataPadded(1, false, envelope(0, "true"), fake.Bytes())
	c, err := Accept(&scripted{pieces: [][]byte{s.Bytes()}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(nil)
	if p, err := c.Receive(); string(p) != "true" || c.Buffered() {
		t.Errorf("got %q, %v, then buffered %v", p, err, c.Buffered())
	}
}

// A message that is claimed to be long takes no memory before it comes.
func TestReceiveTrustsNoLength(t *testing.T) {
	s := newScript()
	_ = s.WriteData(1, false, []byte{0, 0x3f, 0xff, 0xff, 0xff, 'x'})
	c, err := Accept(&scripted{pieces: [][]byte{s.Bytes()}}, Options{MaxMessage: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(nil)
	if _, err := c.Receive(); err == nil {
		t.Error("received a message that has not come")
	}
	if n := cap(c.reading.msg.body); n > 2*netio.MaxBuffer {
		t.Errorf("%d bytes were set aside", n)
	}
}

// Neither end allocates once it runs.
func TestNoAllocations(t *testing.T) {
	client, server := tcpPair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := Accept(server, Options{})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close(nil)
		reply := make([]byte, HeadRoom+64)
		for {
			p, err := c.Receive()
			if err != nil {
				return
			}
			if err := c.Send(append(reply[:HeadRoom], p...)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	c, err := Open(t.Context(), client, "node.test", Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := packet(noise(64))
	if n := testing.AllocsPerRun(1000, func() {
		if err := c.Send(p); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Receive(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a round trip takes %v allocations", n)
	}
	c.Close(nil)
	<-done
}

// A packet that fits a frame leaves in one write, with all that stands before it.
func TestOneWriteAPacket(t *testing.T) {
	near, far := net.Pipe()
	p, _ := clientOver(t, near, far, Options{}, func(c *Conn) error {
		if err := c.Send(packet(noise(1000))); err != nil {
			return err
		}
		return drainConn(c)
	})
	p.enqueue(p.call)
	await[*http2.MetaHeadersFrame](p)
	got := make([]byte, 1<<20)
	n, err := near.Read(got)
	want := append([]byte{0, 1005 >> 8, 1005 & 0xff, 0, 0, 0, 0, 0, 1}, envelope(0, string(noise(1000)))...)
	if err != nil || !bytes.Equal(got[:n], want) {
		t.Errorf("got %d bytes in the first write, %v", n, err)
	}
}
