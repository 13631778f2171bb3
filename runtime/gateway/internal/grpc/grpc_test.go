package grpc

import (
	"math"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"
)

func TestTimeout(t *testing.T) {
	tests := map[string]struct {
		want time.Duration
		ok   bool
	}{
		"1H": {time.Hour, true}, "2M": {2 * time.Minute, true}, "3S": {3 * time.Second, true},
		"4m": {4 * time.Millisecond, true}, "5u": {5 * time.Microsecond, true}, "6n": {6, true},
		"0n": {0, true}, "99999999n": {99999999, true}, "00000001S": {time.Second, true},
		"2562047H": {2562047 * time.Hour, true}, "2562048H": {}, "99999999H": {}, // beyond a Duration
		"": {}, "S": {}, "1": {}, "-1S": {}, "+1S": {}, " 1S": {}, "1 S": {}, "1s": {}, "1h": {}, "0x1S": {},
		"1_0S": {}, "123456789S": {}, "1.5S": {}, "1SS": {}, "١S": {},
	}
	for value, want := range tests {
		if got, ok := Timeout(value); got != want.want || ok != want.ok {
			t.Errorf("%q: got %v, %v; want %v, %v", value, got, ok, want.want, want.ok)
		}
	}
}

func TestMessage(t *testing.T) {
	for _, message := range []string{"", "x", strings.Repeat("y", 70_000)} {
		prefix := Prefix(len(message))
		got, ok := Message(append(prefix[:], message...))
		if !ok || string(got) != message {
			t.Errorf("got %.20q, %v; want %.20q", got, ok, message)
		}
	}
	for _, body := range []string{"", "\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x00\x01", "\x00\x00\x00\x00\x00x", "\x01\x00\x00\x00\x00", "\x80\x00\x00\x00\x00", "\x00\xff\xff\xff\xffx"} {
		if got, ok := Message([]byte(body)); ok {
			t.Errorf("%q: got %q", body, got)
		}
	}
	if prefix := Prefix(math.MaxInt32); prefix != [PrefixSize]byte{0, 127, 255, 255, 255} {
		t.Errorf("got %v", prefix)
	}
}

func TestIsProto(t *testing.T) {
	for _, s := range []string{"application/grpc", "application/grpc+proto"} {
		if !IsProto(s) {
			t.Errorf("%q", s)
		}
	}
	for _, s := range []string{"", "application/grpc+json", "application/grpc-web", "application/grpc-web+proto", "application/proto", "application/grpc;x"} {
		if IsProto(s) {
			t.Errorf("%q", s)
		}
	}
}

// The encoding of statuses is held to what connecthttp sends and reads by the gateway's own tests.
func TestAppendStatus(t *testing.T) {
	before := hpack.HeaderField{Name: "x", Value: "y"}
	tests := map[string]struct {
		err  *connect.Error
		want []hpack.HeaderField
	}{
		"well": {nil, []hpack.HeaderField{before, {Name: "grpc-status", Value: "0"}}},
		"code alone": {
			connect.NewError(connect.CodeNotFound, ""),
			[]hpack.HeaderField{before, {Name: "grpc-status", Value: "5"}, {Name: "grpc-message"}},
		},
		"message": {
			connect.NewError(connect.CodeUnavailable, "50% of ü\n"),
			[]hpack.HeaderField{before, {Name: "grpc-status", Value: "14"}, {Name: "grpc-message", Value: "50%25 of %C3%BC%0A"}},
		},
		"details": {
			connect.NewError(connect.CodeAborted, "a").WithDetail(&connect.ErrorDetail{Type: "a.B", Value: []byte{1}}),
			[]hpack.HeaderField{
				before,
				{Name: "grpc-status", Value: "10"},
				{Name: "grpc-message", Value: "a"},
				{Name: "grpc-status-details-bin", Value: connect.EncodeBinaryHeader([]byte("\x08\x0a\x12\x01a\x1a\x1c\x0a\x17type.googleapis.com/a.B\x12\x01\x01"))},
			},
		},
	}
	for name, test := range tests {
		if diff := cmp.Diff(test.want, AppendStatus([]hpack.HeaderField{before}, test.err)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
