package h2core

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// block returns a header block of name and value pairs.
func block(pairs ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return b.Bytes()
}

// TestAppend holds the encoding of each frame to that of x/net's Framer.
func TestAppend(t *testing.T) {
	head := block(":method", "GET", "x", "a long enough value")
	settings := []http2.Setting{{ID: http2.SettingMaxFrameSize, Val: 1 << 20}, {ID: 0xf4d5, Val: 7}}
	data := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	for name, test := range map[string]struct {
		got  []byte
		want func(f *http2.Framer) error
	}{
		"data": {AppendData(nil, 5, []byte("abc"), false), func(f *http2.Framer) error { return f.WriteData(5, false, []byte("abc")) }},
		"end":  {AppendData(nil, 5, nil, true), func(f *http2.Framer) error { return f.WriteData(5, true, nil) }},
		"headers": {AppendHeaders(nil, 7, head, InitialMaxFrame, true), func(f *http2.Framer) error {
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: head, EndStream: true, EndHeaders: true})
		}},
		"headers in pieces": {AppendHeaders(nil, 7, head, 10, false), func(f *http2.Framer) error {
			rest, err := head[10:], f.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: head[:10]})
			for len(rest) > 10 && err == nil {
				err = f.WriteContinuation(7, false, rest[:10])
				rest = rest[10:]
			}
			return errors.Join(err, f.WriteContinuation(7, true, rest))
		}},
		"rst_stream":    {AppendRSTStream(nil, 9, http2.ErrCodeCancel), func(f *http2.Framer) error { return f.WriteRSTStream(9, http2.ErrCodeCancel) }},
		"window_update": {AppendWindowUpdate(nil, 0, 1<<20), func(f *http2.Framer) error { return f.WriteWindowUpdate(0, 1<<20) }},
		"ping":          {AppendPing(nil, false, data), func(f *http2.Framer) error { return f.WritePing(false, data) }},
		"ping ack":      {AppendPing(nil, true, data), func(f *http2.Framer) error { return f.WritePing(true, data) }},
		"settings":      {AppendSettings(nil, settings...), func(f *http2.Framer) error { return f.WriteSettings(settings...) }},
		"settings ack":  {AppendSettingsAck(nil), func(f *http2.Framer) error { return f.WriteSettingsAck() }},
		"goaway": {AppendGoAway(nil, 11, http2.ErrCodeProtocol, "why"), func(f *http2.Framer) error {
			return f.WriteGoAway(11, http2.ErrCodeProtocol, []byte("why"))
		}},
	} {
		var want bytes.Buffer
		if err := test.want(http2.NewFramer(&want, nil)); err != nil {
			t.Fatal(name, err)
		}
		if !bytes.Equal(test.got, want.Bytes()) {
			t.Errorf("%s: got %x, want %x", name, test.got, want.Bytes())
		}
	}
}

// FuzzFrameHeader holds the header's three functions to each other, and to x/net's.
func FuzzFrameHeader(f *testing.F) {
	f.Add(AppendData(nil, 5, []byte("abc"), true))
	f.Add([]byte{0, 0, 0, 1, 4, 0x80, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < FrameHeaderSize {
			return
		}
		got := ParseFrameHeader(b)
		want, err := http2.ReadFrameHeader(bytes.NewReader(b))
		if err != nil || got.Type != want.Type || got.Flags != want.Flags || got.Length != want.Length || got.StreamID != want.StreamID {
			t.Fatalf("got %v, want %v, %v", got, want, err)
		}
		put := make([]byte, FrameHeaderSize)
		PutFrameHeader(put, int(got.Length), got.Type, got.Flags, got.StreamID)
		if appended := AppendFrameHeader(nil, int(got.Length), got.Type, got.Flags, got.StreamID); !bytes.Equal(put, appended) {
			t.Errorf("put %x, appended %x", put, appended)
		}
		if again := ParseFrameHeader(put); again != got {
			t.Errorf("got %v again, want %v", again, got)
		}
	})
}

// framesOf returns what a Framer writes.
func framesOf(write func(f *http2.Framer)) []byte {
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	f.AllowIllegalWrites = true
	write(f)
	return b.Bytes()
}

func wantConnError(t *testing.T, err error, code http2.ErrCode) {
	t.Helper()
	if ce, ok := errors.AsType[*ConnError](err); !ok || ce.Code != code {
		t.Errorf("got %v, want a connection error %s", err, code)
	}
}
