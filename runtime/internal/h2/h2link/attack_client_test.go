package h2link

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

func TestClientStopsFloods(t *testing.T) {
	floods := map[string]func(p *peer) error{
		"SETTINGS":      func(p *peer) error { return p.WriteSettings() },
		"PING":          func(p *peer) error { return p.WritePing(false, [8]byte{}) },
		"empty DATA":    func(p *peer) error { return p.WriteData(1, false, nil) },
		"WINDOW_UPDATE": func(p *peer) error { return p.WriteWindowUpdate(1, 1) },
		"GOAWAY":        func(p *peer) error { return p.WriteGoAway(1, http2.ErrCodeNo, nil) },
		"unknown":       func(p *peer) error { return p.WriteRawFrame(0x20, 0xff, 9, make([]byte, 20_000)) },
	}
	for name, frame := range floods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, result := serverOf(t, Options{}, drainConn)
			p.answer()
			p.flood(http2.ErrCodeEnhanceYourCalm, func(uint32) error { return frame(p) })
			wantError(t, result, connect.CodeResourceExhausted, "ENHANCE_YOUR_CALM")
		})
	}
	t.Run("interim responses", func(t *testing.T) {
		p, result := serverOf(t, Options{}, drainConn)
		p.request()
		p.check(p.WriteSettings())
		block := encodeHeaderBlock(":status", "103")
		p.flood(http2.ErrCodeEnhanceYourCalm, func(uint32) error {
			return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
		})
		wantError(t, result, connect.CodeResourceExhausted, "ENHANCE_YOUR_CALM")
	})
	t.Run("CONTINUATION", func(t *testing.T) {
		p, result := serverOf(t, Options{}, drainConn)
		p.request()
		p.check(p.WriteSettings())
		p.check(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encodeHeaderBlock(":status", "200")}))
		p.flood(http2.ErrCodeEnhanceYourCalm, func(uint32) error { return p.WriteContinuation(1, false, nil) })
		wantError(t, result, connect.CodeResourceExhausted, "header block")
	})
}

func TestClientRefusesViolations(t *testing.T) {
	tests := map[string]struct {
		code   http2.ErrCode
		attack func(p *peer)
	}{
		"no SETTINGS":      {http2.ErrCodeProtocol, func(p *peer) { p.check(p.WritePing(false, [8]byte{})) }},
		"push switched on": {http2.ErrCodeProtocol, func(p *peer) { p.check(p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 1})) }},
		"PUSH_PROMISE": {http2.ErrCodeProtocol, func(p *peer) {
			p.open()
			p.check(p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}))
		}},
		"HEADERS of a new stream": {http2.ErrCodeProtocol, func(p *peer) { p.open(); p.head(2, false, ":status", "200") }},
		"DATA of another stream":  {http2.ErrCodeProtocol, func(p *peer) { p.open(); p.check(p.WriteData(3, false, []byte("x"))) }},
		"DATA without a response": {http2.ErrCodeProtocol, func(p *peer) { p.check(p.WriteSettings(), p.WriteData(1, false, []byte("x"))) }},
		"WINDOW_UPDATE of others": {http2.ErrCodeProtocol, func(p *peer) { p.open(); p.check(p.WriteWindowUpdate(3, 1)) }},
		"RST_STREAM of others":    {http2.ErrCodeProtocol, func(p *peer) { p.open(); p.check(p.WriteRSTStream(3, 0)) }},
		"no status":               {http2.ErrCodeProtocol, func(p *peer) { p.check(p.WriteSettings()); p.head(1, false, "x", "y") }},
		"status 101":              {http2.ErrCodeProtocol, func(p *peer) { p.check(p.WriteSettings()); p.head(1, false, ":status", "101") }},
		"status 1e2":              {http2.ErrCodeProtocol, func(p *peer) { p.check(p.WriteSettings()); p.head(1, false, ":status", "1e2") }},
		"header of HTTP/1":        {http2.ErrCodeProtocol, func(p *peer) { p.check(p.WriteSettings()); p.head(1, false, ":status", "200", "upgrade", "h2c") }},
		"longer than it says": {http2.ErrCodeProtocol, func(p *peer) {
			p.check(p.WriteSettings())
			p.head(1, false, ":status", "200", "content-type", contentType, "content-length", "5")
			p.check(p.WriteData(1, false, envelope(0, "x")))
		}},
		"interim end":        {http2.ErrCodeProtocol, func(p *peer) { p.check(p.WriteSettings()); p.head(1, true, ":status", "100") }},
		"beyond the window":  {http2.ErrCodeFlowControl, func(p *peer) { p.open(); p.check(p.WriteData(1, false, make([]byte, 100_001))) }},
		"a window too large": {http2.ErrCodeFlowControl, func(p *peer) { p.open(); p.check(p.WriteWindowUpdate(1, h2core.MaxWindow)) }},
		"a long frame":       {http2.ErrCodeFrameSize, func(p *peer) { p.open(); p.check(p.WriteData(1, false, make([]byte, maxFrame+1))) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, result := serverOf(t, Options{Window: 100_000}, drainConn)
			p.request()
			test.attack(p)
			p.wantGoAway(test.code)
			_ = p.nc.Close()
			wantError(t, result, connect.CodeInternal, test.code.String())
		})
	}
}

// open answers a request that has been read.
func (p *peer) open() {
	p.Helper()
	p.check(p.WriteSettings())
	p.head(1, false, ":status", "200", "content-type", contentType)
}

func TestClientReportsServerErrors(t *testing.T) {
	end := func(body string) func(p *peer) {
		return func(p *peer) { p.open(); p.check(p.WriteData(1, false, envelope(flagEndStream, body))) }
	}
	tests := map[string]struct {
		code   connect.Code
		part   string
		answer func(p *peer)
	}{
		"HTTP/1": {connect.CodeUnavailable, "HTTP/1", func(p *peer) {
			_, err := io.WriteString(p.nc, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
			p.check(err)
		}},
		"closes": {connect.CodeUnavailable, "closed by the peer", func(p *peer) { p.check(p.nc.Close()) }},
		"closes and says": {connect.CodeUnavailable, `ENHANCE_YOUR_CALM "too_many_pings"`, func(p *peer) {
			p.open()
			p.check(p.WriteGoAway(1, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings")), p.nc.Close())
		}},
		"takes no call": {connect.CodeUnavailable, "takes no call", func(p *peer) { p.check(p.WriteSettings(), p.WriteGoAway(0, 0, nil)) }},
		"says no type":  {connect.CodeUnknown, "content type", func(p *peer) { p.check(p.WriteSettings()); p.head(1, false, ":status", "200") }},
		"says gRPC": {connect.CodeUnknown, "application/grpc", func(p *peer) {
			p.check(p.WriteSettings())
			p.head(1, false, ":status", "200", "content-type", "application/grpc")
		}},
		"compresses": {connect.CodeInternal, "gzip", func(p *peer) {
			p.check(p.WriteSettings())
			p.head(1, false, ":status", "200", "content-type", contentType, "connect-content-encoding", "gzip")
		}},
		"long headers": {connect.CodeResourceExhausted, "headers", func(p *peer) {
			p.check(p.WriteSettings())
			p.head(1, false, ":status", "200", "content-type", contentType, "x", strings.Repeat("a", 16<<10))
		}},
		"only headers": {connect.CodeUnavailable, "without saying", func(p *peer) {
			p.check(p.WriteSettings())
			p.head(1, true, ":status", "200", "content-type", contentType)
		}},
		"no end of stream":     {connect.CodeUnavailable, "without saying", func(p *peer) { p.open(); p.check(p.WriteData(1, true, nil)) }},
		"trailers":             {connect.CodeUnavailable, "without saying", func(p *peer) { p.open(); p.head(1, true, "x", "y") }},
		"half a message":       {connect.CodeInternal, "within a message", func(p *peer) { p.open(); p.check(p.WriteData(1, true, envelope(0, "half")[:7])) }},
		"compressed message":   {connect.CodeInternal, "compressed", func(p *peer) { p.open(); p.check(p.WriteData(1, false, envelope(1, "x"))) }},
		"unknown flags":        {connect.CodeInternal, "0x8", func(p *peer) { p.open(); p.check(p.WriteData(1, false, envelope(8, "x"))) }},
		"long message":         {connect.CodeResourceExhausted, "limit of 1000", func(p *peer) { p.open(); p.check(p.WriteData(1, false, envelope(0, strings.Repeat("a", 1001))[:5])) }},
		"error":                {connect.CodeNotFound, "gone", end(`{"error":{"code":"not_found","message":"gone"}}`)},
		"error without code":   {connect.CodeUnknown, "gone", end(`{"error":{"message":"gone"}}`)},
		"error, strange code":  {connect.CodeUnknown, "gone", end(`{"error":{"code":"code_99","message":"gone"}}`)},
		"no JSON":              {connect.CodeInternal, "malformed", end(`{"error":`)},
		"detail of no base64":  {connect.CodeInternal, "malformed", end(`{"error":{"code":"not_found","details":[{"type":"a","value":"!"}]}}`)},
		"reset":                {connect.CodeCanceled, "CANCEL", func(p *peer) { p.open(); p.check(p.WriteRSTStream(1, http2.ErrCodeCancel)) }},
		"reset, refused":       {connect.CodeUnavailable, "REFUSED_STREAM", func(p *peer) { p.check(p.WriteSettings(), p.WriteRSTStream(1, http2.ErrCodeRefusedStream)) }},
		"reset, calm":          {connect.CodeResourceExhausted, "ENHANCE", func(p *peer) { p.open(); p.check(p.WriteRSTStream(1, http2.ErrCodeEnhanceYourCalm)) }},
		"reset, insecure":      {connect.CodePermissionDenied, "INADEQUATE", func(p *peer) { p.open(); p.check(p.WriteRSTStream(1, http2.ErrCodeInadequateSecurity)) }},
		"reset, internal":      {connect.CodeInternal, "INTERNAL", func(p *peer) { p.open(); p.check(p.WriteRSTStream(1, http2.ErrCodeInternal)) }},
		"reset without reason": {connect.CodeInternal, "NO_ERROR", func(p *peer) { p.open(); p.check(p.WriteRSTStream(1, http2.ErrCodeNo)) }},
	}
	for status, code := range map[int]connect.Code{
		204: connect.CodeUnknown, 302: connect.CodeUnknown, 400: connect.CodeInternal, 401: connect.CodeUnauthenticated,
		403: connect.CodePermissionDenied, 404: connect.CodeUnimplemented, 415: connect.CodeUnknown,
		429: connect.CodeUnavailable, 500: connect.CodeUnknown, 502: connect.CodeUnavailable,
		503: connect.CodeUnavailable, 504: connect.CodeUnavailable,
	} {
		tests[fmt.Sprint("status ", status)] = struct {
			code   connect.Code
			part   string
			answer func(p *peer)
		}{code, fmt.Sprint(status), func(p *peer) {
			p.check(p.WriteSettings())
			p.head(1, status%2 == 0, ":status", fmt.Sprint(status))
		}}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, result := serverOf(t, Options{MaxMessage: 1000}, drainConn)
			p.request()
			test.answer(p)
			wantError(t, result, test.code, test.part)
		})
	}
}

// A server that shuts down, interim responses, frames of unknown types and padding change nothing.
func TestClientAcceptsWhatIsLegal(t *testing.T) {
	var got []string
	p, result := serverOf(t, Options{}, func(c *Conn) error {
		for {
			b, err := c.Receive()
			if err != nil {
				return err
			}
			got = append(got, string(b))
		}
	})
	p.request()
	p.check(p.WriteSettings(http2.Setting{ID: 0xabcd, Val: 7}), p.WriteSettingsAck())
	p.head(1, false, ":status", "100")
	p.head(1, false, ":status", "103", "link", "x")
	p.check(p.WriteRawFrame(0xbe, 0xff, 1, make([]byte, 100_000)))
	p.check(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: nil, PadLength: 7}))
	for _, b := range encodeHeaderBlock(":status", "200", "content-type", "Application/connect+proto; charset=x") {
		p.check(p.WriteContinuation(1, false, []byte{b}))
	}
	p.check(p.WriteContinuation(1, true, nil))
	p.check(p.WriteGoAway(1, http2.ErrCodeNo, []byte("shutting down")))
	p.check(p.WritePriority(1, http2.PriorityParam{}))
	for _, b := range envelope(0, "byte by byte") {
		p.check(p.WriteDataPadded(1, false, []byte{b}, make([]byte, int(b))), p.WriteRawFrame(0x77, 0, 0, []byte{b}))
	}
	two := append(envelope(0, "two"), envelope(0, "")...)
	p.check(p.WriteData(1, false, append(two, envelope(flagEndStream, `{"metadata":{"a":["b"]}}`)...)), p.WriteData(1, true, nil))
	if err := <-result; err != io.EOF {
		t.Errorf("got %v", err)
	}
	if want := []string{"byte by byte", "two", ""}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q", got)
	}
}
