package h2serve_test

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// windowless is a client that grants no windows by itself.
type windowless struct {
	*target

	mu   sync.Mutex
	came came
}

// came is what has come of each stream.
type came struct {
	data, ends, resets map[uint32]int
	codes              map[http2.ErrCode]int
}

// sofar returns what has come.
func (w *windowless) sofar() came {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return came{maps.Clone(w.came.data), maps.Clone(w.came.ends), maps.Clone(w.came.resets), maps.Clone(w.came.codes)}
}

// newWindowless connects it, in a bubble.
func newWindowless(t *testing.T, o h2serve.Options) *windowless {
	t.Helper()
	near, far := net.Pipe()
	o.IdleTimeout = -1
	w := &windowless{
		target: targetOver(t, near, far, o),
		came:   came{map[uint32]int{}, map[uint32]int{}, map[uint32]int{}, map[http2.ErrCode]int{}},
	}
	w.frames(func(f http2.Frame) {
		w.mu.Lock()
		defer w.mu.Unlock()
		id, c := f.Header().StreamID, &w.came
		switch f := f.(type) {
		case *http2.DataFrame:
			c.data[id] += len(f.Data())
			if f.StreamEnded() {
				c.ends[id]++
			}
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				c.ends[id]++
			}
		case *http2.RSTStreamFrame:
			c.resets[id]++
			c.codes[f.ErrCode]++
		}
	})
	w.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	return w
}

// ask opens so many streams, from id on.
func (w *windowless) ask(id uint32, n int, end bool) (next uint32) {
	for range n {
		w.head(id, end, get...)
		id += 2
	}
	synctest.Wait()
	return id
}

const short = 3000

// answers are ways to answer with so many bytes, and whether the answer has trailers.
var answers = map[string]struct {
	handler http.HandlerFunc
	source  func(*h2serve.Request) h2serve.BufferedHandlers
}{
	"short": {handler: func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(make([]byte, short)) }},
	"short, with trailers": {handler: func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write(make([]byte, short))
		rw.Header().Set(http.TrailerPrefix+"End", "well")
	}},
	"whole": {source: func(*h2serve.Request) h2serve.BufferedHandlers {
		return &prompt{resp: h2serve.Response{
			Head: []hpack.HeaderField{{Name: ":status", Value: "200"}}, Body: [][]byte{make([]byte, short)},
			Trailer: []hpack.HeaderField{{Name: "end", Value: "well"}},
		}}
	}},
}

// TestAnswersWaitForWindows: answers that wait for windows hold no goroutines, and come when there are windows.
func TestAnswersWaitForWindows(t *testing.T) {
	const n = 50
	for name, answer := range answers {
		for _, end := range []bool{true, false} { // the request has ended
			if answer.source != nil && !end {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				w := newWindowless(t, h2serve.Options{Handler: answer.handler, Buffered: answer.source, MaxStreams: n})
				if answer.source != nil {
					for id := uint32(1); id < 2*n; id += 2 {
						w.head(id, false, get...)
						w.do(w.WriteData(id, true, []byte("x")))
					}
					synctest.Wait()
				} else {
					w.ask(1, n, end)
				}
				if c, running := w.sofar(), w.running.Load(); running != 0 || len(c.data) != 0 {
					t.Errorf("%s: %d handlers run, %d streams have data", name, running, len(c.data))
				}
				w.do(w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: short - 1}))
				synctest.Wait()
				for id := uint32(1); id < 2*n; id += 2 { // the connection's window has not been enough for all
					w.do(w.WriteWindowUpdate(id, 1))
				}
				w.do(w.WriteWindowUpdate(0, 1<<20))
				c := w.sofar()
				for id := uint32(1); id < 2*n; id += 2 {
					if c.data[id] != short || c.ends[id] != 1 || !end && c.resets[id] != 1 {
						t.Fatalf("%s: of stream %d came %d bytes, %d ends, %d resets", name, id, c.data[id], c.ends[id], c.resets[id])
					}
				}
				if len(c.resets) != c.codes[http2.ErrCodeNo] {
					t.Errorf("%s: streams were reset with %v", name, c.codes)
				}
				w.ask(2*n+1, n, true) // the places are free again
				if c := w.sofar(); c.codes[http2.ErrCodeRefusedStream] > 0 {
					t.Errorf("%s: streams were refused: %v", name, c.codes)
				}
			})
		}
	}
}

// TestWindowsNotGranted: a stream whose client grants no window is reset in time, and frees its place.
func TestWindowsNotGranted(t *testing.T) {
	const n = 20
	var late atomic.Int32
	long := func(rw http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(rw).Flush()
		if _, err := rw.Write(make([]byte, 100<<10)); errors.Is(err, os.ErrDeadlineExceeded) {
			late.Add(1)
		}
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		allowed time.Duration
	}{
		"short":                {answers["short"].handler, time.Minute},
		"short, with trailers": {answers["short, with trailers"].handler, time.Minute},
		"long":                 {long, 2 * time.Minute},
	}
	for name, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			w := newWindowless(t, h2serve.Options{Handler: test.handler, MaxStreams: n, WindowTimeout: time.Minute})
			next := w.ask(1, n, true)
			time.Sleep(test.allowed - time.Second) // fake time
			if c := w.sofar(); len(c.resets) > 0 {
				t.Errorf("%s: streams were reset too soon: %v", name, c.codes)
			}
			time.Sleep(2 * time.Second) // fake time
			if c := w.sofar(); len(c.resets) != n || c.codes[http2.ErrCodeCancel] != n || w.running.Load() != 0 {
				t.Errorf("%s: streams were reset with %v, %d handlers run", name, c.codes, w.running.Load())
			}
			w.ask(next, n, true)
			if c := w.sofar(); len(c.resets) != n {
				t.Errorf("%s: the places were not free: %v", name, c.codes)
			}
		})
	}
	if n := late.Load(); n != 20 {
		t.Errorf("%d handlers were told that it was too late", n)
	}
}

// TestSlowReader: a client that grants windows now and then is served, for however long.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 20
		var failed atomic.Pointer[error]
		w := newWindowless(t, h2serve.Options{WindowTimeout: time.Minute, Handler: http.HandlerFunc(
			func(rw http.ResponseWriter, _ *http.Request) {
				for range size / 1024 {
					if _, err := rw.Write(make([]byte, 1024)); err != nil {
						failed.Store(&err)
						return
					}
				}
				_, _ = io.WriteString(rw, "!")
			})})
		w.do(w.WriteWindowUpdate(0, size))
		w.ask(1, 1, true)
		for w.sofar().ends[1] == 0 && failed.Load() == nil {
			time.Sleep(50 * time.Second) // fake time
			w.do(w.WriteWindowUpdate(1, 32<<10))
		}
		if err := failed.Load(); err != nil || w.sofar().data[1] != size+1 {
			t.Errorf("%d bytes came, then %v", w.sofar().data[1], err)
		}
	})
}
