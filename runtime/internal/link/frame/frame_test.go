package frame

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// unpack returns the one frame of a packet, read by the generated code.
func unpack(t *testing.T, packet []byte) *linkv1.Frame {
	t.Helper()
	p := new(linkv1.Packet)
	if err := proto.Unmarshal(packet, p); err != nil {
		t.Fatalf("the generated code refuses %x: %v", packet, err)
	}
	if len(p.GetFrames()) != 1 || len(p.GetControls()) != 0 {
		t.Fatalf("packet %v: want one frame", p)
	}
	return p.GetFrames()[0]
}

func checkFrame(t *testing.T, packet []byte, want *linkv1.Frame) {
	t.Helper()
	got := unpack(t, packet)
	if proto.Equal(want, got) {
		return
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
}

// TestAppendFrames holds what the hand-written code writes against the generated code.
func TestAppendFrames(t *testing.T) {
	origin := nodeid.ID{1, 2, 3}
	open := Open{
		Callee:  &Callee{Namespace: "public", Procedure: "/a.B/C", Origin: origin, OriginNamespace: "inner"},
		Timeout: time.Second, StreamType: connect.StreamTypeBidi,
	}
	header := new(connect.Header)
	header.Add("Key", "one")
	header.Add("Key", "two\xff")
	size, _ := CheckHeaders("", header, 1000)
	f := Outgoing{Fields: FieldData | FieldCloseSend, Data: []byte("data")}
	checkFrame(t, f.AppendTo(nil, 5, open.AppendTo(nil, 7, header, size)), &linkv1.Frame{
		Call: 5, Hops: 7,
		Open: &linkv1.Open{
			Namespace: "public", Procedure: "/a.B/C", Origin: origin[:], OriginNamespace: "inner",
			Timeout: int64(time.Second), StreamType: 3,
			Headers: &linkv1.Headers{Headers: []*linkv1.Header{{Key: "Key", Values: [][]byte{[]byte("one"), []byte("two\xff")}}}},
		},
		Data: []byte("data"), CloseSend: true,
	})
	least := Open{Callee: &Callee{Namespace: "n", Procedure: "p"}}
	checkFrame(t, (&Outgoing{}).AppendTo(nil, 1, least.AppendTo(nil, 0, nil, 0)), &linkv1.Frame{
		Call: 1, Open: &linkv1.Open{Namespace: "n", Procedure: "p", Origin: make([]byte, 16)},
	})
	for _, n := range []int{0, 1, 127, 128, 16383, 16384, MaxData} {
		data := make([]byte, n)
		checkFrame(t, (&Outgoing{Fields: FieldData | FieldMore, Data: data}).AppendTo(nil, 1<<31, nil),
			&linkv1.Frame{Call: 1 << 31, Data: data, More: true})
	}
	checkFrame(t, (&Outgoing{Fields: FieldData | FieldMore, Data: []byte{1}, Total: 1 << 20}).AppendTo(nil, 7, nil),
		&linkv1.Frame{Call: 7, Data: []byte{1}, More: true, Total: 1 << 20})
	checkFrame(t, (&Outgoing{Fields: FieldEnd}).AppendTo(nil, 3, nil), &linkv1.Frame{Call: 3, End: &linkv1.End{}})
	checkFrame(t, AppendWindow(nil, 9, 300_000), &linkv1.Frame{Call: 9, Window: 300_000})
	checkFrame(t, AppendCancel(nil, 9, connect.CodeDeadlineExceeded), &linkv1.Frame{Call: 9, Cancel: 4})
}

// randomFrame returns a frame with each field set or not.
func randomFrame(r *rand.Rand) *linkv1.Frame {
	some := func() bool { return r.IntN(2) == 0 }
	headers := func() *linkv1.Headers {
		return &linkv1.Headers{Headers: []*linkv1.Header{{Key: "K", Values: [][]byte{{byte(r.Uint32())}, nil}}}}
	}
	f := &linkv1.Frame{Call: 1 + r.Uint32N(1<<31)}
	if some() {
		f.Hops = 1 + r.Uint32()>>1
		f.Open = &linkv1.Open{Namespace: "ns", Procedure: "/p", Origin: make([]byte, 16), Headers: headers()}
	}
	if some() {
		f.Headers = headers()
	}
	if some() {
		f.Window = r.Uint32()
	}
	if some() {
		f.Data = make([]byte, r.IntN(2)*r.IntN(300))
	}
	f.More, f.CloseSend = some(), some()
	if some() {
		f.Cancel = r.Uint32N(5)
	}
	if some() {
		f.End = &linkv1.End{Code: r.Uint32N(17), Message: "m", Trailers: headers()}
	}
	if some() {
		f.Total = r.Uint32()
	}
	return f
}

// asProto returns what the hand-written code has read, as the generated type.
func asProto(t *testing.T, f *Frame) *linkv1.Frame {
	t.Helper()
	out := &linkv1.Frame{Call: f.Call, Hops: f.Hops, Window: f.Window, More: f.Has(FieldMore), Cancel: f.Cancel, Total: f.Total}
	out.CloseSend = f.Has(FieldCloseSend)
	read := func(bit Fields, raw []byte, m proto.Message) {
		if !f.Has(bit) {
			return
		}
		if err := proto.Unmarshal(raw, m); err != nil {
			t.Fatalf("the generated code refuses part of an accepted frame: %v", err)
		}
	}
	if f.Has(FieldOpen) {
		out.Open = new(linkv1.Open)
	}
	if f.Has(FieldHeaders) {
		out.Headers = new(linkv1.Headers)
	}
	if f.Has(FieldEnd) {
		out.End = new(linkv1.End)
	}
	if f.Has(FieldData) {
		out.Data = append([]byte{}, f.Data...)
	}
	read(FieldOpen, f.Open, out.Open)
	read(FieldHeaders, f.Headers, out.Headers)
	read(FieldEnd, f.End, out.End)
	return out
}

// TestParseFrames holds what the hand-written code reads against what the generated code wrote.
func TestParseFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		want := randomFrame(r)
		raw, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var f Frame
		if err := f.Parse(raw); err != nil {
			t.Fatalf("%v is refused: %v", want, err)
		}
		if diff := cmp.Diff(want, asProto(t, &f), protocmp.Transform(), protocmp.IgnoreUnknown()); diff != "" {
			t.Fatalf("frame (-want +got):\n%s", diff)
		}
	}
}

func TestParseFrameRefuses(t *testing.T) {
	call := []byte{tagCall, 1, 0, 0, 0}
	with := func(rest ...byte) []byte { return append(bytes.Clone(call), rest...) }
	for name, raw := range map[string][]byte{
		"empty":              {},
		"no call":            {tagMore, 1},
		"short call":         {tagCall, 1, 2},
		"call twice":         append(bytes.Clone(call), call...),
		"hops out of place":  with(tagMore, 1, tagHops, 0, 0, 0, 0),
		"truncated varint":   with(tagWindow, 0x80),
		"truncated bytes":    with(tagData, 5, 1),
		"enormous length":    with(tagData, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"truncated unknown":  with(15<<3|5, 1),
		"unended group":      with(15<<3 | 3),
		"data twice":         with(tagData, 0, tagData, 0),
		"overlong tag":       with(tagMore|0x80, 0, 1),
		"field number 0":     with(0, 1),
		"much unknown":       with(append([]byte{15<<3 | 2, 100}, make([]byte, 100)...)...),
		"data too long":      appendBytes(with(), tagData, make([]byte, MaxData+1)),
		"headers too long":   appendBytes(with(), tagHeaders, make([]byte, MaxBlocks)),
		"a stray end group":  with(15<<3 | 4),
		"reserved wire type": with(15<<3 | 7),
	} {
		if err := new(Frame).Parse(raw); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	skipped := with(15<<3|2, 3, 1, 2, 3, 15<<3|0, 7, tagCloseSend, 1)
	if f := new(Frame); f.Parse(skipped) != nil || f.Fields != FieldCloseSend {
		t.Errorf("unknown fields are not skipped")
	}
}

func TestReaddress(t *testing.T) {
	want := &linkv1.Frame{
		Call: 5, Hops: 7,
		Open: &linkv1.Open{
			Namespace: "public", Procedure: "/a.B/C", Origin: make([]byte, 16), OriginNamespace: "x", Timeout: 5, StreamType: 2,
			Caller:  &linkv1.Caller{Node: make([]byte, 16), Name: "what was said before"},
			Headers: &linkv1.Headers{Headers: []*linkv1.Header{{Key: "K", Values: [][]byte{{1}}}}},
		},
		Data: []byte("data"), CloseSend: true,
	}
	raw, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	unknown := []byte{15<<3 | 0, 7}
	raw = append(raw, unknown...)
	var f Frame
	if err := f.Parse(raw); err != nil {
		t.Fatal(err)
	}
	caller := &Caller{Node: nodeid.ID{7}, Name: "n", Address: "a"}
	raw = f.Readdress(&Callee{Namespace: "inner", Origin: nodeid.ID{9}, OriginNamespace: "deep"}, caller)
	got := new(linkv1.Frame)
	if err := proto.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	origin := nodeid.ID{9}
	want.Hops, want.Open.Namespace, want.Open.OriginNamespace, want.Open.Origin = 0, "inner", "deep", origin[:]
	want.Open.Caller = &linkv1.Caller{Node: caller.Node[:], Name: "n", Address: "a"}
	want.ProtoReflect().SetUnknown(unknown)
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
	if raw[5] != tagHops {
		t.Error("hops is out of place")
	}
}

func TestWithoutWindow(t *testing.T) {
	f := Outgoing{Fields: FieldData, Data: []byte("x")}
	raw := append([]byte{tagCall, 1, 0, 0, 0, tagWindow, 0x80, 1}, f.appendFields(nil, nil)...)
	want := append([]byte{tagCall, 1, 0, 0, 0}, f.appendFields(nil, nil)...)
	if got := WithoutWindow(raw); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestIncomingParse(t *testing.T) {
	origin := nodeid.ID{1, 15: 2}
	raw, err := proto.Marshal(&linkv1.Open{
		Namespace: "n", Procedure: "p", Origin: origin[:], OriginNamespace: "o", Timeout: 99, StreamType: 3,
		Headers: &linkv1.Headers{Headers: []*linkv1.Header{{Key: "K", Values: [][]byte{{'v'}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var in Open
	if err := in.Parse(raw, new(OpenCache)); err != nil {
		t.Fatal(err)
	}
	h, err := DecodeHeaders(in.RawHeaders)
	if err != nil || h.Get("k") != "v" {
		t.Errorf("headers %v, %v", h, err)
	}
	in.RawHeaders = nil
	want := Open{
		Callee:  &Callee{Namespace: "n", Procedure: "p", Origin: origin, OriginNamespace: "o", Cached: true},
		Timeout: 99, StreamType: 3,
	}
	if diff := cmp.Diff(want, in); diff != "" {
		t.Errorf("incoming (-want +got):\n%s", diff)
	}
}

// FuzzFrame holds the hand-written reader against the generated one: what it accepts, the generated
// one reads the same.
func FuzzFrame(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		raw, _ := proto.Marshal(randomFrame(r))
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got Frame
		if got.Parse(raw) != nil {
			return
		}
		want := new(linkv1.Frame)
		if proto.Unmarshal(raw, want) != nil {
			return // the inside of open, headers and end is looked at by the ends of the path
		}
		want.ProtoReflect().SetUnknown(nil)
		if ours := asProto(t, &got); !proto.Equal(want, ours) {
			t.Fatalf("generated code reads %v, ours %v", want, ours)
		}
		if got.Has(FieldOpen) {
			var in Open
			if in.Parse(got.Open, new(OpenCache)) == nil && want.GetOpen().GetNamespace() != in.Namespace {
				t.Fatalf("namespace %q and %q", in.Namespace, want.GetOpen().GetNamespace())
			}
			if err := got.Parse(got.Readdress(&Callee{Namespace: "n"}, nil)); err != nil && len(raw) < MaxBlocks/2 {
				t.Fatalf("readdressed: %v", err)
			}
		}
		if _, err := DecodeHeaders(got.Headers); err == nil && want.GetHeaders() == nil && got.Has(FieldHeaders) {
			t.Fatal("headers lost")
		}
	})
}
