package h2serve_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// script is a connection whose client has said all it says, in pieces, and reads what it gets.
type script struct {
	mu     sync.Mutex
	said   [][]byte
	ended  chan struct{} // nothing more is read, by end or by a deadline
	once   sync.Once
	closed atomic.Bool
	wrote  bytes.Buffer
}

func newScript(r *rand.Rand, said []byte) *script {
	s := &script{ended: make(chan struct{})}
	for len(said) > 0 {
		n := 1 + r.IntN(len(said))
		s.said, said = append(s.said, said[:n]), said[n:]
	}
	return s
}

func (s *script) Read(p []byte) (int, error) {
	if s.closed.Load() {
		return 0, net.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.said) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.said[0])
	if s.said[0] = s.said[0][n:]; len(s.said[0]) == 0 {
		s.said = s.said[1:]
	}
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	if s.closed.Load() {
		return 0, net.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrote.Write(p)
}

func (s *script) Close() error {
	s.closed.Store(true)
	s.once.Do(func() { close(s.ended) })
	return nil
}

func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// bufferedHandler is a BufferedHandler that wants requests of POST and answers at once, later, never, or not at all.
type bufferedHandler struct {
	t       *testing.T
	wg      sync.WaitGroup
	flushed bool
	closed  bool
	given   int
}

func (w *bufferedHandler) NewBufferedHandler() h2serve.BufferedHandler { return w }

func (w *bufferedHandler) Wants(r *h2serve.Request) bool { return r.Method == http.MethodPost }

func (w *bufferedHandler) Length(_ *h2serve.Request, begin []byte) int { return int(begin[0]) << 10 }

func (w *bufferedHandler) Handle(r *h2serve.Request) bool {
	if w.closed {
		w.t.Error("a request after Close")
	}
	if len(r.Body) > h2serve.MaxBufferedBody {
		w.t.Errorf("a body of %d bytes", len(r.Body))
	}
	w.given++
	var canceled atomic.Int32
	r.OnCancel(func() {
		if canceled.Add(1) > 1 {
			w.t.Error("canceled twice")
		}
	})
	body := bytes.Clone(r.Body)
	switch w.given % 4 {
	case 0:
		r.Respond(answer(body))
	case 1:
		w.wg.Go(func() {
			r.Respond(answer(bytes.Repeat(body, 100)))
			r.Conn().Flush()
			r.Respond(answer(body)) // does not count
		})
	case 2:
		return false
	}
	return true
}

func answer(body []byte) *h2serve.Response {
	return &h2serve.Response{
		Head: []hpack.HeaderField{{Name: ":status", Value: "200"}}, Body: [][]byte{{0}, body},
		Trailer: []hpack.HeaderField{{Name: "end", Value: "well"}},
	}
}

func (w *bufferedHandler) Flush() { w.flushed = true }

func (w *bufferedHandler) Close() {
	if w.closed {
		w.t.Error("closed twice")
	}
	w.closed = true
}

// serveScript serves what a client has said, and checks that all ends, and that what it gets is HTTP/2.
func serveScript(t *testing.T, said []byte, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	nc := newScript(r, said)
	w := &bufferedHandler{t: t}
	var running atomic.Int32
	head := said[:0]
	if len(nc.said) > 0 && r.IntN(2) == 0 {
		head, nc.said = nc.said[0], nc.said[1:]
	}
	err := h2serve.Serve(t.Context(), nc, head, h2serve.Options{
		MaxStreams: 5, MaxHeader: 4 << 10, StreamWindow: 70_000, BodyWindow: 75_000, ConnWindow: 80_000,
		Buffered: func(*h2serve.Request) h2serve.BufferedHandlers { return w },
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			running.Add(1)
			defer running.Add(-1)
			_, _ = io.Copy(rw, r.Body)
			rw.Header().Set(http.TrailerPrefix+"End", "well")
		}),
	})
	w.wg.Wait()
	if err == nil || running.Load() != 0 || !nc.closed.Load() {
		t.Errorf("Serve returned %v, %d handlers run, closed %t", err, running.Load(), nc.closed.Load())
	}
	if w.given > 0 && !w.closed {
		t.Error("the BufferedHandler was not closed")
	}
	frames := http2.NewFramer(nil, &nc.wrote)
	frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		if _, err := frames.ReadFrame(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("the client got what is no HTTP/2: %v, %v", err, frames.ErrorDetail())
		}
	}
}

// seeds returns what clients say.
func seeds() (all [][]byte) {
	add := func(say func(f *http2.Framer)) {
		var b bytes.Buffer
		b.WriteString(http2.ClientPreface)
		f := http2.NewFramer(&b, nil)
		f.AllowIllegalWrites = true
		_ = f.WriteSettings()
		say(f)
		all = append(all, b.Bytes())
	}
	call := append(append([]string{}, having(":method", "POST")...), "te", "trailers", "content-type", "application/grpc")
	head := func(f *http2.Framer, id uint32, end bool, pairs ...string) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: encode(pairs...), EndHeaders: true, EndStream: end})
	}
	add(func(f *http2.Framer) { head(f, 1, true, get...) })
	add(func(f *http2.Framer) {
		for id := uint32(1); id < 20; id += 2 {
			head(f, id, false, call...)
			_ = f.WriteData(id, id%3 != 0, []byte("hello"))
		}
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		_ = f.WriteWindowUpdate(1, 10)
		_ = f.WriteWindowUpdate(0, 1000)
		_ = f.WriteRSTStream(3, http2.ErrCodeCancel)
		_ = f.WriteDataPadded(9, true, []byte("more"), make([]byte, 5))
	})
	add(func(f *http2.Framer) {
		head(f, 1, false, append(having(":method", "PUT"), "trailer", "x", "content-length", "10", "expect", "100-continue")...)
		_ = f.WriteData(1, false, []byte("helloworld"))
		head(f, 1, true, "x", "y")
		_ = f.WritePing(false, [8]byte{1})
		_ = f.WritePriority(1, http2.PriorityParam{StreamDep: 3})
		_ = f.WriteRawFrame(0xee, 0xff, 1, []byte("unknown"))
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: encode(call...), PadLength: 3, Priority: http2.PriorityParam{Weight: 1}})
		_ = f.WriteContinuation(3, true, encode("cookie", "a=b", "x", strings.Repeat("y", 5000)))
		_ = f.WriteData(3, false, make([]byte, 16000))
		_ = f.WriteGoAway(1, http2.ErrCodeNo, []byte("debug"))
	})
	return all
}

func FuzzServe(f *testing.F) {
	for i, said := range seeds() {
		f.Add(said, uint64(i))
	}
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), uint64(0))
	f.Fuzz(serveScript)
}

// FuzzServeFrames has frames that are framed well: each its type, flags, stream, length and payload. A frame of
// headers begins with a good request, unless its first byte is odd.
func FuzzServeFrames(f *testing.F) {
	f.Add([]byte{1, 4, 1, 0, 0, 1, 1, 5, 'h', 'e', 'l', 'l', 'o', 3, 0, 1, 4, 0, 0, 0, 8}, uint64(0))
	f.Add([]byte{8, 0, 1, 4, 0, 0, 1, 0, 4, 0, 0, 6, 0, 4, 0, 0, 0, 1, 1, 5, 3, 0, 1, 5, 5, 0, 9, 0, 3, 0}, uint64(1))
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		var b bytes.Buffer
		b.WriteString(http2.ClientPreface)
		s := http2.NewFramer(&b, nil)
		s.AllowIllegalWrites = true
		_ = s.WriteSettings()
		request := encode(having(":method", "POST")...)
		for len(p) >= 4 {
			kind, flags, stream, n := p[0]%11, p[1], uint32(p[2]%16), min(int(p[3]), len(p)-4)
			payload := p[4 : 4+n]
			p = p[4+n:]
			if http2.FrameType(kind) == http2.FrameHeaders && (n == 0 || payload[0]%2 == 0) {
				flags &^= byte(http2.FlagHeadersPadded | http2.FlagHeadersPriority)
				payload = request
			}
			_ = s.WriteRawFrame(http2.FrameType(kind), http2.Flags(flags), stream, payload)
		}
		serveScript(t, b.Bytes(), seed)
	})
}
