package h2serve_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// strict is a client that changes its settings while answers come, and holds the server to each from when that has
// acknowledged them, and to those before until then.
type strict struct {
	*target

	r       *rand.Rand
	sent    [][]http2.Setting // not acknowledged
	first   int64             // what holds
	frame   int64
	windows map[uint32]int64
	conn    int64
}

func (s *strict) change() {
	settings := []http2.Setting{
		{ID: http2.SettingInitialWindowSize, Val: uint32(s.r.IntN(100_000))},
		{ID: http2.SettingMaxFrameSize, Val: uint32(16<<10 + s.r.IntN(100_000))},
		{ID: http2.SettingHeaderTableSize, Val: uint32(s.r.IntN(2) * 4096)}, // hpack's decoder takes two updates at once of such alone
	}
	s.do(s.WriteSettings(settings...))
	s.sent = append(s.sent, settings)
}

func (s *strict) acknowledged() {
	for _, setting := range s.sent[0] {
		switch setting.ID {
		case http2.SettingInitialWindowSize:
			for id := range s.windows {
				s.windows[id] += int64(setting.Val) - s.first
			}
			s.first = int64(setting.Val)
		case http2.SettingMaxFrameSize:
			s.frame = int64(setting.Val)
		case http2.SettingHeaderTableSize:
			s.ReadMetaHeaders.SetAllowedMaxDynamicTableSize(setting.Val)
		}
	}
	s.sent = s.sent[1:]
}

// take reads a frame.
func (s *strict) take() {
	f, ok := s.next()
	if !ok {
		s.Fatal("the connection ended")
	}
	id, n := f.Header().StreamID, int64(f.Header().Length)
	if n > s.frame {
		s.Fatalf("a frame of %d bytes, %d are allowed", n, s.frame)
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			s.acknowledged()
		}
	case *http2.DataFrame:
		if allowed := min(s.windows[id], s.conn); n > allowed {
			s.Fatalf("%d bytes of stream %d, %d are allowed", n, id, allowed)
		}
		s.windows[id] -= n
		s.conn -= n
		s.change()
	case *http2.MetaHeadersFrame:
		if want := fmt.Sprint("x: ", id); !strings.Contains(pairs(f), want) {
			s.Fatalf("headers of stream %d: %s", id, pairs(f))
		}
		if f.StreamEnded() {
			delete(s.windows, id)
		}
	case *http2.RSTStreamFrame, *http2.GoAwayFrame:
		s.Fatalf("got %v", f)
	}
}

// grant sees to it that something can be sent of every stream.
func (s *strict) grant() {
	const little = 5000
	for id, window := range s.windows {
		if window <= 0 {
			s.do(s.WriteWindowUpdate(id, uint32(little-window)))
			s.windows[id] = little
		}
	}
	if s.conn < little {
		s.do(s.WriteWindowUpdate(0, little))
		s.conn += little
	}
}

// TestSettingsCross: whatever a client changes while answers are under way, the server sends by its settings from
// their acknowledgement on, and by those before until then.
func TestSettingsCross(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			answer := func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("X", r.URL.Path[1:])
				_, _ = io.WriteString(rw, strings.Repeat("y", 60_000))
				rw.Header().Set(http.TrailerPrefix+"X", r.URL.Path[1:])
			}
			s := &strict{
				target: newTarget(t, h2serve.Options{Handler: http.HandlerFunc(answer)}), r: rand.New(rand.NewPCG(seed, 0)),
				sent: [][]http2.Setting{nil}, first: 65535, conn: 65535, frame: 16 << 10, windows: map[uint32]int64{},
			}
			s.SetMaxReadFrameSize(1 << 20)
			s.preface()
			for id := uint32(1); id < 40 || len(s.windows) > 0; {
				if id < 40 && s.r.IntN(3) == 0 {
					s.windows[id] = s.first
					s.head(id, true, append(get[:6:6], ":path", fmt.Sprint("/", id))...)
					id += 2
				}
				s.grant()
				if len(s.windows) > 0 {
					s.take()
				}
			}
		})
	}
}
