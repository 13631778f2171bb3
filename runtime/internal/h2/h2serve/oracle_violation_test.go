package h2serve_test

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// TestViolations has clients that break a rule of HTTP/2 in a way that ends the connection.
func TestViolations(t *testing.T) {
	const (
		protocol = http2.ErrCodeProtocol
		flow     = http2.ErrCodeFlowControl
		size     = http2.ErrCodeFrameSize
		closed   = http2.ErrCodeStreamClosed
	)
	tests := map[string]struct {
		code   http2.ErrCode
		attack func(g *target)
	}{
		"no SETTINGS": {protocol, func(g *target) {
			_, err := io.WriteString(g.nc, http2.ClientPreface)
			g.do(err, g.WritePing(false, [8]byte{}))
		}},
		"SETTINGS ack first": {protocol, func(g *target) {
			_, err := io.WriteString(g.nc, http2.ClientPreface)
			g.do(err, g.WriteSettingsAck())
		}},
		"no preface": {protocol, func(g *target) {
			_, err := io.WriteString(g.nc, strings.Repeat("GET / HTTP/1.1\r\n", 3))
			g.do(err)
		}},
		"DATA of stream 0":           {protocol, func(g *target) { g.call(); g.do(g.WriteData(0, false, []byte("x"))) }},
		"DATA of an idle stream":     {protocol, func(g *target) { g.call(); g.do(g.WriteData(5, false, []byte("x"))) }},
		"DATA of an even stream":     {protocol, func(g *target) { g.call(); g.do(g.WriteData(2, false, []byte("x"))) }},
		"DATA beyond the connection": {flow, func(g *target) { g.call(); g.overrun(1, 3) }},
		"DATA padded beyond itself": {protocol, func(g *target) {
			g.call()
			g.do(g.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{2, 0}))
		}},
		"HEADERS of stream 0":          {protocol, func(g *target) { g.call(); g.head(0, false, get...) }},
		"HEADERS of an even stream":    {protocol, func(g *target) { g.call(); g.head(2, false, get...) }},
		"HEADERS of an earlier stream": {closed, func(g *target) { g.call(); g.head(5, true, get...); g.head(3, false, get...) }},
		"HEADERS of a stream that is over": {closed, func(g *target) {
			g.preface()
			g.head(1, true, get...)
			await[*http2.DataFrame](g.peer)
			g.wantAlive()
			g.head(1, true, get...)
		}},
		"frame within a header block":    {protocol, func(g *target) { g.splitHead(); g.do(g.WritePing(false, [8]byte{})) }},
		"DATA within a header block":     {protocol, func(g *target) { g.splitHead(); g.do(g.WriteData(1, false, nil)) }},
		"CONTINUATION of another stream": {protocol, func(g *target) { g.splitHead(); g.do(g.WriteContinuation(3, true, nil)) }},
		"CONTINUATION of nothing":        {protocol, func(g *target) { g.call(); g.do(g.WriteContinuation(1, true, nil)) }},
		"broken hpack": {http2.ErrCodeCompression, func(g *target) {
			g.preface()
			g.do(g.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true}))
		}},
		"header table too large": {http2.ErrCodeCompression, func(g *target) {
			g.preface()
			g.do(g.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x3f, 0xe2, 0x1f}, EndHeaders: true}))
		}},
		"long frame": {size, func(g *target) { g.call(); g.do(g.WriteRawFrame(0xfe, 0, 0, make([]byte, h2serve.MaxFrame+1))) }},
		"long DATA": {size, func(g *target) {
			g.call()
			g.do(g.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, h2serve.MaxFrame+1)))
		}},
		"odd SETTINGS":          {size, func(g *target) { g.call(); g.do(g.WriteRawFrame(http2.FrameSettings, 0, 0, []byte("odd"))) }},
		"many SETTINGS":         {http2.ErrCodeEnhanceYourCalm, func(g *target) { g.call(); g.do(g.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 6*101))) }},
		"SETTINGS of a stream":  {protocol, func(g *target) { g.call(); g.do(g.WriteRawFrame(http2.FrameSettings, 0, 1, nil)) }},
		"SETTINGS ack too many": {protocol, func(g *target) { g.call(); g.do(g.WriteSettingsAck()) }},
		"SETTINGS ack that says": {size, func(g *target) {
			g.call()
			g.do(g.WriteRawFrame(http2.FrameSettings, http2.FlagSettingsAck, 0, make([]byte, 6)))
		}},
		"small frame size":       {protocol, func(g *target) { g.preface(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1000}) }},
		"push of 2":              {protocol, func(g *target) { g.preface(http2.Setting{ID: http2.SettingEnablePush, Val: 2}) }},
		"first window too large": {flow, func(g *target) { g.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) }},
		"first window grows": {flow, func(g *target) {
			g.call()
			g.do(g.WriteWindowUpdate(1, h2serve.MaxWindow-65535), g.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65536}))
		}},
		"connection's window too large": {flow, func(g *target) { g.call(); g.do(g.WriteWindowUpdate(0, h2serve.MaxWindow)) }},
		"WINDOW_UPDATE of 0":            {protocol, func(g *target) { g.call(); g.do(g.WriteWindowUpdate(0, 0)) }},
		"WINDOW_UPDATE, idle stream":    {protocol, func(g *target) { g.call(); g.do(g.WriteWindowUpdate(7, 1)) }},
		"WINDOW_UPDATE, even stream":    {protocol, func(g *target) { g.call(); g.do(g.WriteWindowUpdate(2, 1)) }},
		"RST_STREAM, idle stream":       {protocol, func(g *target) { g.call(); g.do(g.WriteRSTStream(7, 0)) }},
		"RST_STREAM, even stream":       {protocol, func(g *target) { g.call(); g.do(g.WriteRSTStream(2, 0)) }},
		"RST_STREAM of 0":               {protocol, func(g *target) { g.call(); g.do(g.WriteRSTStream(0, 0)) }},
		"short RST_STREAM":              {size, func(g *target) { g.call(); g.do(g.WriteRawFrame(http2.FrameRSTStream, 0, 1, []byte{0})) }},
		"short PING":                    {size, func(g *target) { g.call(); g.do(g.WriteRawFrame(http2.FramePing, 0, 0, []byte("short"))) }},
		"PING of a stream":              {protocol, func(g *target) { g.call(); g.do(g.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8))) }},
		"GOAWAY of a stream":            {protocol, func(g *target) { g.call(); g.do(g.WriteRawFrame(http2.FrameGoAway, 0, 1, make([]byte, 8))) }},
		"PUSH_PROMISE": {protocol, func(g *target) {
			g.call()
			g.do(g.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}))
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newTarget(t, h2serve.Options{StreamWindow: 70_000, BodyWindow: 70_000, ConnWindow: 70_000, Handler: http.HandlerFunc(idle)})
			if name == "HEADERS of a stream that is over" {
				g = newTarget(t, h2serve.Options{})
			}
			test.attack(g)
			g.wantGoAway(test.code)
		})
	}
}

// idle reads nothing until the request's context has ended.
func idle(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// overrun sends more DATA than the window allows, in turn of the streams, without waiting for more.
func (g *target) overrun(streams ...uint32) {
	for _, id := range streams[1:] {
		g.head(id, false, get...)
	}
	for i := range 5 {
		g.do(g.WriteData(streams[i%len(streams)], false, make([]byte, 15_000)))
	}
}

// splitHead begins a header block.
func (g *target) splitHead() {
	g.preface()
	g.do(g.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(get...)}))
}

// TestStreamViolations has clients that break a rule in a way that ends the stream only.
func TestStreamViolations(t *testing.T) {
	tests := map[string]struct {
		code   http2.ErrCode
		attack func(g *target)
	}{
		"DATA after the end":            {http2.ErrCodeStreamClosed, func(g *target) { g.do(g.WriteData(1, true, nil), g.WriteData(1, false, []byte("x"))) }},
		"HEADERS after the end":         {http2.ErrCodeStreamClosed, func(g *target) { g.do(g.WriteData(1, true, nil)); g.head(1, true, "x", "y") }},
		"DATA beyond the stream":        {http2.ErrCodeFlowControl, func(g *target) { g.overrun(1) }},
		"window too large":              {http2.ErrCodeFlowControl, func(g *target) { g.do(g.WriteWindowUpdate(1, h2serve.MaxWindow)) }},
		"WINDOW_UPDATE of 0":            {http2.ErrCodeProtocol, func(g *target) { g.do(g.WriteWindowUpdate(1, 0)) }},
		"depends on itself":             {http2.ErrCodeProtocol, func(g *target) { g.do(g.WritePriority(1, http2.PriorityParam{StreamDep: 1})) }},
		"HEADERS within":                {http2.ErrCodeProtocol, func(g *target) { g.head(1, false, "x", "y") }},
		"trailers with a pseudo header": {http2.ErrCodeProtocol, func(g *target) { g.head(1, true, ":path", "y") }},
		"trailers of upper case":        {http2.ErrCodeProtocol, func(g *target) { g.head(1, true, "X", "y") }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newTarget(t, h2serve.Options{StreamWindow: 70_000, BodyWindow: 70_000, ConnWindow: 200_000, Handler: http.HandlerFunc(idle)})
			g.call()
			test.attack(g)
			g.wantReset(1, test.code)
			// What was under way is dropped, and does not cost the connection its window.
			for range 100 {
				g.do(g.WriteData(1, false, make([]byte, 15_000)))
				g.wantAlive()
			}
			g.do(g.WriteRSTStream(1, http2.ErrCodeCancel))
			g.head(5, true, get...)
			g.do(g.WriteRSTStream(5, http2.ErrCodeCancel))
			g.wantAlive()
		})
	}
}

// TestStalls has clients that do nothing when it is their turn.
func TestStalls(t *testing.T) {
	const soon = 50 * time.Millisecond
	begins := map[string]func(g *target){
		"nothing":         func(*target) {},
		"half a preface":  func(g *target) { _, _ = io.WriteString(g.nc, http2.ClientPreface[:10]) },
		"a preface alone": func(g *target) { _, _ = io.WriteString(g.nc, http2.ClientPreface) },
		"half of SETTINGS": func(g *target) {
			_, _ = io.WriteString(g.nc, http2.ClientPreface)
			_, _ = g.nc.Write([]byte{0, 0, 6, 4})
		},
		"a preface, byte by byte": func(g *target) {
			go func() {
				for i := range len(http2.ClientPreface) {
					if _, err := io.WriteString(g.nc, http2.ClientPreface[i:i+1]); err != nil {
						return
					}
					<-time.After(10 * time.Millisecond)
				}
			}()
		},
	}
	for name, begin := range begins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newTarget(t, h2serve.Options{HandshakeTimeout: soon})
			begin(g)
			g.wantError("timeout")
		})
	}
	t.Run("half a frame, then the end", func(t *testing.T) {
		g := newTarget(t, h2serve.Options{})
		g.call()
		_, _ = g.nc.Write([]byte{0, 0, 100, 0, 0, 0, 0, 0, 1, 'x'})
		_ = g.nc.Close()
		g.wantError("")
	})
	t.Run("half a header block, then the end", func(t *testing.T) {
		g := newTarget(t, h2serve.Options{})
		g.splitHead()
		_ = g.nc.Close()
		g.wantError("")
	})
}

// heap returns how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestPeersThatDoNotRead holds no more for them than the bounds allow, and ends.
func TestPeersThatDoNotRead(t *testing.T) {
	large := func(rw http.ResponseWriter, _ *http.Request) {
		for range 1000 {
			if _, err := rw.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
	attacks := map[string]struct {
		want   string
		attack func(g *target)
	}{
		"responses": {"", func(g *target) {
			g.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: h2serve.MaxWindow})
			g.do(g.WriteWindowUpdate(0, h2serve.MaxWindow-65535))
			for i := range uint32(100) {
				g.do(open(g.peer, 1+2*i, true))
			}
		}},
		"PING": {"ENHANCE_YOUR_CALM", func(g *target) {
			g.preface()
			for g.WritePing(false, [8]byte{}) == nil { // the server ends it
			}
		}},
		"SETTINGS": {"ENHANCE_YOUR_CALM", func(g *target) {
			g.preface()
			for g.WriteSettings() == nil {
			}
		}},
	}
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			before := heap()
			o := h2serve.Options{WriteTimeout: 300 * time.Millisecond, Handler: http.HandlerFunc(large)}
			if a.want != "" {
				o.WriteTimeout = time.Minute // on a busy machine the frames come slowly
			}
			g := targetOver(t, near, far, o)
			go func() { _, _ = io.ReadFull(g.nc, make([]byte, 10)) }() // the pipe has no buffer: the handshake goes on
			a.attack(g)
			after := heap()
			if used := after - min(before, after); used > 16<<20 {
				t.Errorf("%d MiB are held", used>>20)
			}
			g.wantError(a.want)
		})
	}
}
