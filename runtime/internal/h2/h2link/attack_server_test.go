package h2link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

func TestServerStopsFloods(t *testing.T) {
	floods := map[string]func(p *peer, i uint32) error{
		"rapid reset": func(p *peer, i uint32) error {
			return errors.Join(
				p.WriteHeaders(http2.HeadersFrameParam{StreamID: 3 + 2*i, BlockFragment: encodeHeaderBlock(callHead...), EndHeaders: true}),
				p.WriteRSTStream(3+2*i, http2.ErrCodeCancel))
		},
		"requests": func(p *peer, i uint32) error {
			return p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 3 + 2*i, BlockFragment: encodeHeaderBlock(callHead...), EndHeaders: true, EndStream: true,
			})
		},
		"SETTINGS":      func(p *peer, _ uint32) error { return p.WriteSettings() },
		"PING":          func(p *peer, _ uint32) error { return p.WritePing(false, [8]byte{}) },
		"PING ack":      func(p *peer, _ uint32) error { return p.WritePing(true, [8]byte{}) },
		"empty DATA":    func(p *peer, _ uint32) error { return p.WriteData(1, false, nil) },
		"padding":       func(p *peer, _ uint32) error { return p.WriteDataPadded(1, false, nil, make([]byte, 9)) },
		"WINDOW_UPDATE": func(p *peer, _ uint32) error { return p.WriteWindowUpdate(0, 1) },
		"PRIORITY": func(p *peer, _ uint32) error {
			return p.WritePriority(1, http2.PriorityParam{StreamDep: 3})
		},
		"unknown frames": func(p *peer, _ uint32) error { return p.WriteRawFrame(0xfe, 0, 1, []byte("x")) },
		"GOAWAY":         func(p *peer, _ uint32) error { return p.WriteGoAway(0, http2.ErrCodeNo, nil) },
	}
	for name, frame := range floods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, result := clientOf(t, Options{}, drainConn)
			p.call()
			p.flood(http2.ErrCodeEnhanceYourCalm, func(i uint32) error { return frame(p, i) })
			wantError(t, result, connect.CodeResourceExhausted, "ENHANCE_YOUR_CALM")
		})
	}
}

func TestServerStopsHeaderFloods(t *testing.T) {
	floods := map[string]func(p *peer, i uint32) error{
		"empty CONTINUATION": func(p *peer, _ uint32) error { return p.WriteContinuation(1, false, nil) },
		"CONTINUATION": func(p *peer, _ uint32) error {
			return p.WriteContinuation(1, false, encodeHeaderBlock("x", "1"))
		},
		"long CONTINUATION": func(p *peer, _ uint32) error {
			return p.WriteContinuation(1, false, encodeHeaderBlock("x", strings.Repeat("1", 10_000)))
		},
	}
	for name, frame := range floods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, result := clientOf(t, Options{}, drainConn)
			p.preface()
			p.check(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encodeHeaderBlock(callHead...)}))
			p.flood(http2.ErrCodeEnhanceYourCalm, func(i uint32) error { return frame(p, i) })
			wantError(t, result, connect.CodeResourceExhausted, "ENHANCE_YOUR_CALM")
		})
	}
}

// Up to its limits a peer may do what is useless.
func TestServerLimitsAreExact(t *testing.T) {
	hello := envelope(0, "hello")
	t.Run("streams", func(t *testing.T) {
		p, _ := clientOf(t, Options{}, echoConn)
		p.call()
		for i := range uint32(maxRefusedStreams) {
			p.head(3+2*i, true, callHead...)
		}
		p.check(p.WriteData(1, false, hello))
		p.wantData(hello)
		p.head(3+2*maxRefusedStreams, true, callHead...)
		p.wantGoAway(http2.ErrCodeEnhanceYourCalm)
	})
	t.Run("frames", func(t *testing.T) {
		p, _ := clientOf(t, Options{}, drainConn)
		p.call()
		for range 2 { // a message makes room for as many again
			p.check(p.WriteData(1, false, hello))
			for range maxIdleFrames {
				p.check(p.WritePing(true, [8]byte{}))
			}
		}
		p.check(p.WritePing(false, [8]byte{}))
		p.wantGoAway(http2.ErrCodeEnhanceYourCalm)
	})
	t.Run("frames that follow DATA", func(t *testing.T) {
		p, _ := clientOf(t, Options{}, echoConn)
		p.call()
		p.check(p.WriteData(1, false, hello))
		p.wantData(hello)
		for range 2*maxIdleFrames - 10 {
			p.check(p.WriteWindowUpdate(1, 1))
		}
		p.check(p.WriteData(1, false, hello))
		p.wantData(hello)
	})
}

// A header that is in the table costs one byte a use and as much as it is long.
func TestServerBoundsDecodedHeaders(t *testing.T) {
	p, _ := clientOf(t, Options{}, drainConn)
	p.preface()
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(callHead); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: callHead[i], Value: callHead[i+1]})
	}
	for range 10_000 {
		_ = e.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 3000)})
	}
	p.check(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true}))
	if f := await[*http2.MetaHeadersFrame](p); f.PseudoValue("status") != "431" {
		t.Errorf("got status %s", f.PseudoValue("status"))
	}
}

// Who asks for more than it reads has its acknowledgements queued, up to a bound, even while it
// sends messages.
func TestServerBoundsQueuedControlFrames(t *testing.T) {
	near, far := net.Pipe()
	p, result := clientOver(t, near, far, Options{}, drainConn)
	p.enqueue(p.call)
	await[*http2.MetaHeadersFrame](p)
	message := envelope(0, "")
	var batch bytes.Buffer
	fr := http2.NewFramer(&batch, nil)
	for range 3000 {
		p.check(fr.WritePing(false, [8]byte{}), fr.WriteData(1, false, message))
	}
	_, _ = p.nc.Write(batch.Bytes())
	wantError(t, result, connect.CodeResourceExhausted, "faster than read")
}

func TestServerRefusesViolations(t *testing.T) {
	const (
		protocol = http2.ErrCodeProtocol
		flow     = http2.ErrCodeFlowControl
		size     = http2.ErrCodeFrameSize
		closed   = http2.ErrCodeStreamClosed
	)
	tests := map[string]struct {
		code   http2.ErrCode
		attack func(p *peer)
	}{
		"no SETTINGS": {protocol, func(p *peer) {
			_, err := io.WriteString(p.nc, http2.ClientPreface)
			p.check(err, p.WritePing(false, [8]byte{}))
		}},
		"SETTINGS ack first": {protocol, func(p *peer) {
			_, err := io.WriteString(p.nc, http2.ClientPreface)
			p.check(err, p.WriteSettingsAck())
		}},
		"no preface": {protocol, func(p *peer) {
			_, err := io.WriteString(p.nc, strings.Repeat("GET / HTTP/1.1\r\n", 3))
			p.check(err)
		}},
		"DATA before the request":      {protocol, func(p *peer) { p.preface(); p.check(p.WriteData(1, false, nil)) }},
		"DATA of stream 0":             {protocol, func(p *peer) { p.call(); p.check(p.WriteData(0, false, []byte("x"))) }},
		"DATA of stream 0, no request": {protocol, func(p *peer) { p.preface(); p.check(p.WriteData(0, false, []byte("x"))) }},
		"DATA of an idle stream":       {protocol, func(p *peer) { p.call(); p.check(p.WriteData(5, false, []byte("x"))) }},
		"DATA after the end":           {closed, func(p *peer) { p.call(); p.check(p.WriteData(1, true, nil), p.WriteData(1, false, nil)) }},
		"DATA beyond the connection": {flow, func(p *peer) {
			p.call()
			p.head(3, false, callHead...)
			p.check(p.WriteData(3, false, make([]byte, 100_001)))
		}},
		"DATA padded beyond itself": {protocol, func(p *peer) {
			p.call()
			p.check(p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{2, 0}))
		}},
		"DATA padded without a length":  {size, func(p *peer) { p.call(); p.check(p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, nil)) }},
		"HEADERS of an even stream":     {protocol, func(p *peer) { p.call(); p.head(2, false, callHead...) }},
		"HEADERS of an earlier stream":  {protocol, func(p *peer) { p.call(); p.head(5, false, callHead...); p.head(3, false, callHead...) }},
		"DATA of a skipped stream":      {closed, func(p *peer) { p.call(); p.head(5, false, callHead...); p.check(p.WriteData(3, false, nil)) }},
		"request with another te":       {protocol, func(p *peer) { p.preface(); p.head(1, false, append(callHead, "te", "gzip")...) }},
		"request with user information": {protocol, func(p *peer) { p.preface(); p.head(1, false, replaced(":authority", "me@node.test")...) }},
		"request of another scheme":     {protocol, func(p *peer) { p.preface(); p.head(1, false, replaced(":scheme", "ftp")...) }},
		"request with :protocol":        {protocol, func(p *peer) { p.preface(); p.head(1, false, replaced(":authority", "", ":protocol", "x")...) }},
		"request of two lengths": {protocol, func(p *peer) {
			p.preface()
			p.head(1, false, append(callHead, "content-length", "1", "content-length", "2")...)
		}},
		"request longer than it says": {protocol, func(p *peer) {
			p.preface()
			p.head(1, false, append(callHead, "content-length", "7")...)
			p.check(p.WriteData(1, false, envelope(0, "xyz")))
		}},
		"request shorter than it says": {protocol, func(p *peer) {
			p.preface()
			p.head(1, false, append(callHead, "content-length", "7")...)
			p.check(p.WriteData(1, false, envelope(0, "x")))
			p.head(1, true, "x", "y")
		}},
		"trailers that are none":         {protocol, func(p *peer) { p.call(); p.head(1, true, "content-length", "1") }},
		"HEADERS within the stream":      {protocol, func(p *peer) { p.call(); p.head(1, false, "x", "y") }},
		"HEADERS after the end":          {closed, func(p *peer) { p.call(); p.head(1, true, "x", "y"); p.head(1, true, "x", "y") }},
		"trailers with a pseudo header":  {protocol, func(p *peer) { p.call(); p.head(1, true, ":path", "y") }},
		"upper case header":              {protocol, func(p *peer) { p.preface(); p.head(1, true, append(callHead, "X", "y")...) }},
		"header of HTTP/1":               {protocol, func(p *peer) { p.preface(); p.head(1, true, append(callHead, "connection", "close")...) }},
		"request without a path":         {protocol, func(p *peer) { p.preface(); p.head(1, true, callHead[:6]...) }},
		"response":                       {protocol, func(p *peer) { p.preface(); p.head(1, true, ":status", "200") }},
		"frame within a header block":    {protocol, func(p *peer) { p.splitHead(); p.check(p.WritePing(false, [8]byte{})) }},
		"CONTINUATION of another stream": {protocol, func(p *peer) { p.splitHead(); p.check(p.WriteContinuation(3, true, nil)) }},
		"CONTINUATION of nothing":        {protocol, func(p *peer) { p.call(); p.check(p.WriteContinuation(1, true, nil)) }},
		"broken hpack": {http2.ErrCodeCompression, func(p *peer) {
			p.preface()
			p.check(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true}))
		}},
		"long frame":             {size, func(p *peer) { p.call(); p.check(p.WriteRawFrame(0xfe, 0, 0, make([]byte, maxFrame+1))) }},
		"long SETTINGS":          {size, func(p *peer) { p.call(); p.check(p.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 6*5000))) }},
		"long GOAWAY":            {size, func(p *peer) { p.call(); p.check(p.WriteGoAway(0, 0, make([]byte, maxParsedFrame))) }},
		"odd SETTINGS":           {size, func(p *peer) { p.call(); p.check(p.WriteRawFrame(http2.FrameSettings, 0, 0, []byte("odd"))) }},
		"SETTINGS of a stream":   {protocol, func(p *peer) { p.call(); p.check(p.WriteRawFrame(http2.FrameSettings, 0, 1, nil)) }},
		"SETTINGS ack too many":  {protocol, func(p *peer) { p.call(); p.check(p.WriteSettingsAck(), p.WriteSettingsAck()) }},
		"small frame size":       {protocol, func(p *peer) { p.preface(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1000}) }},
		"push of 2":              {protocol, func(p *peer) { p.preface(http2.Setting{ID: http2.SettingEnablePush, Val: 2}) }},
		"first window too large": {flow, func(p *peer) { p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) }},
		"second window too large": {flow, func(p *peer) {
			w := http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}
			p.preface(w, http2.Setting{ID: w.ID, Val: 1 << 31})
		}},
		"first window made too large": {flow, func(p *peer) {
			p.call()
			p.check(p.WriteWindowUpdate(1, h2core.MaxWindow-h2core.InitialWindow), p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: h2core.InitialWindow + 1}))
		}},
		"stream's window too large":   {flow, func(p *peer) { p.call(); p.check(p.WriteWindowUpdate(1, h2core.MaxWindow)) }},
		"connection's too large":      {flow, func(p *peer) { p.call(); p.check(p.WriteWindowUpdate(0, h2core.MaxWindow)) }},
		"WINDOW_UPDATE of 0":          {protocol, func(p *peer) { p.call(); p.check(p.WriteWindowUpdate(0, 0)) }},
		"stream's WINDOW_UPDATE of 0": {protocol, func(p *peer) { p.call(); p.check(p.WriteWindowUpdate(1, 0)) }},
		"WINDOW_UPDATE, idle stream":  {protocol, func(p *peer) { p.call(); p.check(p.WriteWindowUpdate(7, 1)) }},
		"RST_STREAM, idle stream":     {protocol, func(p *peer) { p.call(); p.check(p.WriteRSTStream(7, 0)) }},
		"RST_STREAM before all":       {protocol, func(p *peer) { p.preface(); p.check(p.WriteRSTStream(1, 0)) }},
		"short PING":                  {size, func(p *peer) { p.call(); p.check(p.WriteRawFrame(http2.FramePing, 0, 0, []byte("short"))) }},
		"PING of a stream":            {protocol, func(p *peer) { p.call(); p.check(p.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8))) }},
		"PUSH_PROMISE": {protocol, func(p *peer) {
			p.call()
			p.check(p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}))
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, result := clientOf(t, Options{Window: 100_000}, func(c *Conn) error {
				err := drainConn(c)
				if err == io.EOF { // reads on to see what comes after the end
					c.reading.err = nil
					err = drainConn(c)
				}
				return err
			})
			test.attack(p)
			p.wantGoAway(test.code)
			_ = p.nc.Close()
			wantError(t, result, connect.CodeInternal, test.code.String())
		})
	}
}

// One frame of settings costs as much as many frames of one.
func TestServerBoundsSettings(t *testing.T) {
	p, result := clientOf(t, Options{}, drainConn)
	p.call()
	p.check(p.WriteSettings(make([]http2.Setting, 101)...))
	p.wantGoAway(http2.ErrCodeEnhanceYourCalm)
	_ = p.nc.Close()
	wantError(t, result, connect.CodeResourceExhausted, "101 settings")
}

// replaced returns the call's head with other pseudo-header fields; one with no value is left out.
func replaced(pairs ...string) (head []string) {
	for i := 0; i < len(callHead); i += 2 {
		if !slices.Contains(pairs, callHead[i]) {
			head = append(head, callHead[i:i+2]...)
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			head = slices.Insert(head, 0, pairs[i:i+2]...)
		}
	}
	return head
}

// splitHead begins a header block.
func (p *peer) splitHead() {
	p.preface()
	p.check(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encodeHeaderBlock(callHead...)}))
}
