package h2link

import (
	"io"
	"slices"
	"testing"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestServerTakesOnlyTheCall(t *testing.T) {
	with := func(name, value string) []string {
		pairs := slices.Clone(callHead)
		pairs[slices.Index(pairs, name)+1] = value
		return pairs
	}
	tests := map[string]struct {
		head   []string
		status string
		header [2]string
	}{
		"other path":      {with(":path", "/rpcmesh.link.v1.LinkService/Other"), "404", [2]string{}},
		"GET":             {with(":method", "GET"), "405", [2]string{"allow", "POST"}},
		"unary":           {with("content-type", "application/proto"), "415", [2]string{"accept-post", contentType}},
		"gRPC":            {with("content-type", "application/grpc+proto"), "415", [2]string{"accept-post", contentType}},
		"no content type": {callHead[:8], "415", [2]string{"accept-post", contentType}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, result := clientOf(t, Options{}, drainConn)
			p.preface()
			p.head(1, false, test.head...)
			f := await[*http2.MetaHeadersFrame](p)
			if f.PseudoValue("status") != test.status || !f.StreamEnded() {
				t.Errorf("got status %s, end %v", f.PseudoValue("status"), f.StreamEnded())
			}
			if want := test.header; want[0] != "" && !slices.ContainsFunc(f.RegularFields(), func(hf hpack.HeaderField) bool {
				return hf.Name == want[0] && hf.Value == want[1]
			}) {
				t.Errorf("got headers %v, want %v", f.RegularFields(), want)
			}
			p.wantGoAway(http2.ErrCodeNo)
			_ = p.nc.Close()
			wantError(t, result, connect.CodeInvalidArgument, test.status)
		})
	}
}

func TestServerTellsWhyByConnect(t *testing.T) {
	tests := map[string]struct {
		head []string
		end  string
	}{
		"version":     {append(callHead[:10:10], "connect-protocol-version", "2"), `{"error":{"code":"invalid_argument","message":"connect-protocol-version must be 1"}}`},
		"compression": {append(callHead[:12:12], "connect-content-encoding", "gzip"), `{"error":{"code":"unimplemented","message":"unknown compression: only identity is supported"}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := clientOf(t, Options{}, drainConn)
			p.preface()
			p.head(1, false, test.head...)
			if f := await[*http2.MetaHeadersFrame](p); f.PseudoValue("status") != "200" {
				t.Errorf("got status %s", f.PseudoValue("status"))
			}
			p.wantData(envelope(flagEndStream, test.end))
		})
	}
}

// The first request is served, others are refused, and what was under way for them is dropped.
func TestServerRefusesOtherStreams(t *testing.T) {
	p, result := clientOf(t, Options{Window: 100_000}, echoConn)
	p.call()
	p.head(3, false, callHead...)
	if f := await[*http2.RSTStreamFrame](p); f.StreamID != 3 || f.ErrCode != http2.ErrCodeRefusedStream {
		t.Errorf("got %v", f)
	}
	for range 20 { // far more than the connection's window: it is granted again
		p.check(p.WriteData(3, false, make([]byte, 10_000)))
	}
	p.head(3, true, "x-trailer", "sent before the client knew")
	p.check(p.WriteRSTStream(3, http2.ErrCodeCancel), p.WriteWindowUpdate(3, 1))
	p.check(p.WriteData(1, false, envelope(0, "still here")))
	p.wantData(envelope(0, "still here"))
	p.head(1, true, "x-trailer", "x")
	p.wantData(envelope(flagEndStream, "{}"))
	_ = p.nc.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestServerReadsOddMessages(t *testing.T) {
	tests := map[string]struct {
		code connect.Code
		part string
		data []byte
		end  bool
	}{
		"compressed":     {connect.CodeInternal, "compressed", envelope(1, "x"), false},
		"end of stream":  {connect.CodeInternal, "end-of-stream", envelope(2, "{}"), false},
		"unknown flags":  {connect.CodeInternal, "0x80", envelope(0x80, "x"), false},
		"too long":       {connect.CodeResourceExhausted, "limit of 10", envelope(0, "eleven bytes")[:5], false},
		"half a prefix":  {connect.CodeInternal, "within", envelope(0, "x")[:3], true},
		"half a message": {connect.CodeInternal, "within", envelope(0, "xyz")[:7], true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, result := clientOf(t, Options{MaxMessage: 10}, drainConn)
			p.call()
			p.check(p.WriteData(1, test.end, test.data))
			// The client hears the same.
			await[*http2.MetaHeadersFrame](p)
			got := await[*http2.DataFrame](p).Data()
			if err := parseEndStream(got[prefixSize:]); connect.CodeOf(err) != test.code {
				t.Errorf("the client got %v", err)
			}
			_ = p.nc.Close()
			wantError(t, result, test.code, test.part)
		})
	}
}

func TestServerTakesARequestWithoutABody(t *testing.T) {
	p, result := clientOf(t, Options{}, drainConn)
	p.preface()
	p.head(7, true, callHead...) // the first stream need not be 1
	p.wantData(envelope(flagEndStream, "{}"))
	_ = p.nc.Close()
	if err := <-result; err != io.EOF {
		t.Error(err)
	}
}
