package h2core

import (
	"cmp"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// TestStreamState holds each state and event to the diagram.
func TestStreamState(t *testing.T) {
	events := []func(*StreamState){(*StreamState).Open, (*StreamState).EndLocal, (*StreamState).EndRemote, (*StreamState).Close}
	for _, test := range []struct {
		from          StreamState
		to            [4]StreamState
		send, receive bool
	}{
		{StreamIdle, [4]StreamState{StreamOpen, StreamIdle, StreamIdle, StreamClosed}, false, false},
		{StreamOpen, [4]StreamState{StreamOpen, StreamHalfClosedLocal, StreamHalfClosedRemote, StreamClosed}, true, true},
		{StreamHalfClosedLocal, [4]StreamState{StreamHalfClosedLocal, StreamHalfClosedLocal, StreamClosed, StreamClosed}, false, true},
		{StreamHalfClosedRemote, [4]StreamState{StreamHalfClosedRemote, StreamClosed, StreamHalfClosedRemote, StreamClosed}, true, false},
		{StreamClosed, [4]StreamState{StreamClosed, StreamClosed, StreamClosed, StreamClosed}, false, false},
	} {
		for i, event := range events {
			s := test.from
			event(&s)
			if s != test.to[i] {
				t.Errorf("event %d leads from %d to %d, want %d", i, test.from, s, test.to[i])
			}
		}
		if test.from.CanSend() != test.send || test.from.CanReceive() != test.receive {
			t.Errorf("state %d: can send %v, can receive %v", test.from, test.from.CanSend(), test.from.CanReceive())
		}
	}
}

func TestSettings(t *testing.T) {
	frame := func(settings ...http2.Setting) *http2.SettingsFrame {
		var got *http2.SettingsFrame
		_ = read(framesOf(func(f *http2.Framer) { _ = f.WriteSettings(settings...) }), func(f http2.Frame) { got, _ = f.(*http2.SettingsFrame) })
		return got
	}
	s := InitialSettings()
	err := s.Apply(frame(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: MaxWindow},
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1<<24 - 1}, http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: 0xf4d5, Val: 1}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}), true)
	if want := (Settings{HeaderTable: 0, InitialWindow: MaxWindow, MaxFrame: 1<<24 - 1}); s != want || err != nil {
		t.Errorf("took %+v, %v", s, err)
	}
	push := frame(http2.Setting{ID: http2.SettingEnablePush, Val: 1})
	if err := s.Apply(push, false); err != nil {
		t.Errorf("a client that takes pushes: %v", err)
	}
	wantConnError(t, s.Apply(push, true), http2.ErrCodeProtocol)
	for setting, code := range map[http2.Setting]http2.ErrCode{
		{ID: http2.SettingEnablePush, Val: 2}:                     http2.ErrCodeProtocol,
		{ID: http2.SettingInitialWindowSize, Val: MaxWindow + 1}:  http2.ErrCodeFlowControl,
		{ID: http2.SettingMaxFrameSize, Val: InitialMaxFrame - 1}: http2.ErrCodeProtocol,
		{ID: http2.SettingMaxFrameSize, Val: 1 << 24}:             http2.ErrCodeProtocol,
	} {
		var applied error
		err := read(framesOf(func(f *http2.Framer) { _ = f.WriteSettings(setting) }), func(f http2.Frame) {
			applied = s.Apply(f.(*http2.SettingsFrame), false)
		})
		wantConnError(t, cmp.Or(applied, err), code) // the Framer may see it first
	}
}

func TestResetStreams(t *testing.T) {
	var r ResetStreams
	r.Add(1, 100)
	if !r.TakeData(1, 60) || r.TakeData(1, 41) || !r.TakeData(1, 40) || r.TakeData(1, 1) || !r.Has(1) {
		t.Error("a stream's window is another")
	}
	if r.Has(3) || r.TakeData(3, 0) {
		t.Error("a stream is remembered that was not reset")
	}
	for i := range maxRecentResets {
		r.Add(uint32(3+2*i), i)
	}
	if r.Has(1) || !r.Has(3) || len(r.recent) != maxRecentResets {
		t.Errorf("%d are remembered, and the oldest is among them: %v", len(r.recent), r.Has(1))
	}
	r.Add(1001, 0)
	if r.Has(3) || !r.Has(5) || !r.Has(1001) {
		t.Error("another than the oldest has been forgotten")
	}
}

func TestFloodCounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFloodCounter(200, 10*time.Second)
		for i := range 200 {
			if f.Add() {
				t.Fatalf("event %d is one too many", i)
			}
		}
		if !f.Add() || f.Count() != 201 {
			t.Errorf("event %d is not one too many", f.Count())
		}
		f.Reset()
		for i := range 10_000 { // of which 200 take longer than the interval
			if f.Add() {
				t.Fatalf("event %d is one too many", i)
			}
			time.Sleep(70 * time.Millisecond) // fake time
		}
	})
}

func TestFloodCounterTakesNoMemory(t *testing.T) {
	f := NewFloodCounter(1, time.Hour)
	if n := testing.AllocsPerRun(100, func() { f.Add() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBodyLength(t *testing.T) {
	for name, test := range map[string]struct {
		values []string
		noBody bool
		bad    bool
		body   []int // its pieces, of which the last one ends it
		wrong  int   // which of them is one too many or too few; -1: none
	}{
		"none":             {nil, false, false, []int{5, 0}, -1},
		"as declared":      {[]string{"5"}, false, false, []int{2, 3}, -1},
		"declared twice":   {[]string{"5", "5"}, false, false, []int{5, 0}, -1},
		"shorter":          {[]string{"5"}, false, false, []int{2, 2}, 1},
		"longer":           {[]string{"5"}, false, false, []int{2, 4, 0}, 1},
		"not the same":     {[]string{"5", "6"}, false, true, nil, -1},
		"no number":        {[]string{"+5"}, false, true, nil, -1},
		"empty":            {[]string{""}, false, true, nil, -1},
		"too large":        {[]string{"9223372036854775808"}, false, true, nil, -1},
		"zero without one": {[]string{"0"}, true, false, nil, -1},
		"of no body":       {[]string{"1"}, true, true, nil, -1},
	} {
		var pairs []string
		for _, v := range test.values {
			pairs = append(pairs, "content-length", v)
		}
		b, err := ParseContentLength(metaHeaders(t, test.noBody, pairs...).Fields, test.noBody)
		if (err != nil) != test.bad {
			t.Errorf("%s: %v", name, err)
		}
		for i, n := range test.body {
			if ok := b.Add(n, i == len(test.body)-1); ok == (i == test.wrong) {
				t.Errorf("%s: piece %d: %v", name, i, ok)
			}
			if i == test.wrong {
				break
			}
		}
	}
}

// metaHeaders returns a HEADERS frame.
func metaHeaders(t *testing.T, end bool, pairs ...string) *http2.MetaHeadersFrame {
	t.Helper()
	var got *http2.MetaHeadersFrame
	_ = read(framesOf(func(f *http2.Framer) {
		_ = f.WriteSettings()
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(pairs...), EndHeaders: true, EndStream: end})
	}), func(f http2.Frame) {
		if f, ok := f.(*http2.MetaHeadersFrame); ok {
			got = f
		}
	})
	if got == nil {
		t.Fatalf("%q are no headers", pairs)
	}
	return got
}

func TestParseRequest(t *testing.T) {
	good := []string{":method", "POST", ":scheme", "https", ":authority", "node", ":path", "/a?b"}
	without := func(name string) []string {
		i := slices.Index(good, name)
		return slices.Concat(good[:i], good[i+2:])
	}
	with := func(pairs ...string) []string { return slices.Concat(good, pairs) }
	h, err := ParseRequest(metaHeaders(t, false, with("x", "y", "te", "trailers", "content-length", "3")...))
	if err != nil || h.Method != http.MethodPost || h.Scheme != "https" || h.Authority != "node" || h.Path != "/a?b" || len(h.Fields) != 3 || h.Body.Declared() != 3 {
		t.Errorf("got %+v, %v", h, err)
	}
	if _, err := ParseRequest(metaHeaders(t, true, without(":authority")...)); err != nil {
		t.Errorf("without :authority: %v", err)
	}
	for name, pairs := range map[string][]string{
		"method": without(":method"), "scheme": without(":scheme"), "path": without(":path"),
		"other scheme": append(without(":scheme"), ":scheme", "ftp"), "protocol": append(without(":authority"), ":protocol", "websocket"),
		"user": append(without(":authority"), ":authority", "me@node"), "connection": with("connection", "close"),
		"te": with("te", "gzip"), "length": with("content-length", "x"), "upgrade": with("upgrade", "h2c"),
		"keep-alive": with("keep-alive", "1"), "transfer-encoding": with("transfer-encoding", "chunked"),
	} {
		if h, err := ParseRequest(metaHeaders(t, false, pairs...)); err == nil {
			t.Errorf("%s: took %+v", name, h)
		}
	}
}

func TestCheckTrailers(t *testing.T) {
	for name, test := range map[string]struct {
		frame *http2.MetaHeadersFrame
		good  bool
	}{
		"trailers":   {metaHeaders(t, true, "grpc-status", "0", "x", "y"), true},
		"none":       {metaHeaders(t, true), true},
		"no end":     {metaHeaders(t, false, "x", "y"), false},
		"pseudo":     {metaHeaders(t, true, ":status", "200"), false},
		"host":       {metaHeaders(t, true, "host", "node"), false},
		"connection": {metaHeaders(t, true, "connection", "close"), false},
	} {
		if err := CheckTrailers(test.frame); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
