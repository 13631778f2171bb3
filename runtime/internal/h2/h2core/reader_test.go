package h2core

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

var testLimits = ReadLimits{Frame: 20 << 10, Parsed: 16 << 10, HeaderList: 1 << 10, HeaderBlock: 4 << 10}

// read reads frames as an endpoint does, DATA and unknown ones past the reader, until that fails.
func read(p []byte, each func(http2.Frame)) error {
	in := netio.NewInput(bytes.NewReader(p), nil, func() {})
	r := NewFrameReader(&in, testLimits)
	for {
		fh, err := r.Header()
		if err != nil {
			return err
		}
		if fh.Type == http2.FrameData || fh.Type > http2.FrameContinuation {
			if _, err := io.CopyN(io.Discard, &in, int64(fh.Length)); err != nil {
				return err
			}
			continue
		}
		f, err := r.Payload(fh)
		if err != nil {
			return err
		}
		each(f)
	}
}

func TestFrameReader(t *testing.T) {
	var got []string
	err := read(framesOf(func(f *http2.Framer) {
		_ = f.WriteSettings()
		_ = f.WriteData(1, false, make([]byte, 20<<10))
		_ = f.WriteRawFrame(99, 0, 0, []byte("unknown"))
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":method", "GET")})
		_ = f.WriteContinuation(1, true, block("x", "y"))
		_ = f.WritePing(false, [8]byte{})
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block("long", strings.Repeat("x", 1000)), EndHeaders: true})
	}), func(f http2.Frame) {
		name := f.Header().Type.String()
		if f, ok := f.(*http2.MetaHeadersFrame); ok {
			for _, hf := range f.Fields {
				name += " " + hf.Name
			}
			if f.Truncated {
				name += " truncated"
			}
		}
		got = append(got, name)
	})
	if want := "SETTINGS, HEADERS :method x, PING, HEADERS truncated"; strings.Join(got, ", ") != want || err != io.EOF {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
}

func TestFrameReaderRefuses(t *testing.T) {
	settings := func(f *http2.Framer) { _ = f.WriteSettings() }
	for name, test := range map[string]struct {
		code  http2.ErrCode
		first func(f *http2.Framer) // default: settings
		write func(f *http2.Framer)
	}{
		"no settings":           {http2.ErrCodeProtocol, func(f *http2.Framer) { _ = f.WritePing(false, [8]byte{}) }, settings},
		"acknowledgement first": {http2.ErrCodeProtocol, func(f *http2.Framer) { _ = f.WriteSettingsAck() }, settings},
		"long frame":            {http2.ErrCodeFrameSize, nil, func(f *http2.Framer) { _ = f.WriteData(1, false, make([]byte, 20<<10+1)) }},
		"long frame that is parsed": {http2.ErrCodeFrameSize, nil, func(f *http2.Framer) {
			_ = f.WriteRawFrame(http2.FrameGoAway, 0, 0, make([]byte, 16<<10+1))
		}},
		"too many settings":       {http2.ErrCodeEnhanceYourCalm, nil, func(f *http2.Framer) { _ = f.WriteSettings(make([]http2.Setting, 101)...) }},
		"continuation of nothing": {http2.ErrCodeProtocol, nil, func(f *http2.Framer) { _ = f.WriteContinuation(1, true, nil) }},
		"frame within a header block": {http2.ErrCodeProtocol, nil, func(f *http2.Framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
			_ = f.WritePing(false, [8]byte{})
		}},
		"not hpack": {http2.ErrCodeCompression, nil, func(f *http2.Framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff}, EndHeaders: true})
		}},
		"header list that goes on": {http2.ErrCodeEnhanceYourCalm, nil, func(f *http2.Framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("x", strings.Repeat("x", 1000))})
			_ = f.WriteContinuation(1, true, block("x", "y"))
		}},
		"header block that goes on": {http2.ErrCodeEnhanceYourCalm, nil, func(f *http2.Framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
			for range 1000 {
				_ = f.WriteContinuation(1, false, nil)
			}
		}},
		"ping of a stream": {http2.ErrCodeProtocol, nil, func(f *http2.Framer) { _ = f.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8)) }},
	} {
		t.Run(name, func(t *testing.T) {
			first := test.first
			if first == nil {
				first = settings
			}
			wantConnError(t, read(framesOf(func(f *http2.Framer) {
				first(f)
				test.write(f)
			}), func(http2.Frame) {}), test.code)
		})
	}
}

// What is wrong with one stream is that stream's, and the reader goes on.
func TestFrameReaderStreamError(t *testing.T) {
	in := netio.NewInput(bytes.NewReader(framesOf(func(f *http2.Framer) {
		_ = f.WriteSettings()
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("Upper", "case"), EndHeaders: true})
		_ = f.WritePing(false, [8]byte{})
	})), nil, func() {})
	r := NewFrameReader(&in, testLimits)
	next := func() (http2.Frame, error) {
		fh, err := r.Header()
		if err != nil {
			return nil, err
		}
		return r.Payload(fh)
	}
	if _, err := next(); err != nil || !r.GotSettings() {
		t.Fatal(err)
	}
	_, err := next()
	if se, ok := errors.AsType[http2.StreamError](err); !ok || se.StreamID != 1 || se.Code != http2.ErrCodeProtocol {
		t.Errorf("got %v", err)
	}
	if f, err := next(); err != nil || f.Header().Type != http2.FramePing {
		t.Errorf("got %v, %v", f, err)
	}
}

func TestPreface(t *testing.T) {
	for said, want := range map[string]bool{http2.ClientPreface: true, "GET / HTTP/1.1\r\nHost: node\r\n\r\n": false, "PRI * HTTP/2.0\r\n\r\nSM\r\n\n\r": false} {
		in := netio.NewInput(strings.NewReader(said), nil, func() {})
		r := NewFrameReader(&in, testLimits)
		if err := r.Preface(); err == nil != want {
			t.Errorf("%q: %v", said, err)
		} else if !want {
			wantConnError(t, err, http2.ErrCodeProtocol)
		}
	}
}

// FuzzFrameReader has any bytes behind SETTINGS: reading ends with one of the errors that are promised, and what a
// header list has is bounded.
func FuzzFrameReader(f *testing.F) {
	f.Add(framesOf(func(f *http2.Framer) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":method", "GET", "x", "y")})
		_ = f.WriteContinuation(1, true, block("x", "y"))
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		_ = f.WriteWindowUpdate(1, 5)
		_ = f.WriteGoAway(1, http2.ErrCodeNo, []byte("debug"))
	}))
	f.Fuzz(func(t *testing.T, p []byte) {
		s := InitialSettings()
		err := read(append(framesOf(func(f *http2.Framer) { _ = f.WriteSettings() }), p...), func(f http2.Frame) {
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if s.Apply(f, true) == nil && (s.InitialWindow > MaxWindow || s.MaxFrame < InitialMaxFrame || s.MaxFrame > 1<<24) {
					t.Errorf("took %+v", s)
				}
			case *http2.MetaHeadersFrame:
				size := 0
				for _, hf := range f.Fields {
					size += int(hf.Size())
				}
				if size > 2*testLimits.HeaderList { // the Framer counts the header Trailer apart
					t.Errorf("a header list of %d bytes", size)
				}
				head, err := ParseRequest(f)
				if err == nil && !f.Truncated && (head.Method == "" || head.Path == "") {
					t.Errorf("took %+v", head)
				}
				_ = CheckTrailers(f)
			}
		})
		_, isConn := errors.AsType[*ConnError](err)
		_, isStream := errors.AsType[http2.StreamError](err)
		if !isConn && !isStream && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("ended with %v", err)
		}
	})
}
