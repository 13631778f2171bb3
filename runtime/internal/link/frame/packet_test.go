package frame

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// parts returns the bodies of the controls and of the frames in a packet, and whether it is well formed.
func parts(p []byte) (controls, frames [][]byte, ok bool) {
	for len(p) > 0 {
		part, body, n := NextPart(p)
		if n < 0 {
			return nil, nil, false
		}
		p = p[n:]
		switch part {
		case PartControl:
			controls = append(controls, body)
		case PartFrame:
			frames = append(frames, body)
		case PartUnknown:
		}
	}
	return controls, frames, true
}

// FuzzPacket holds NextPart and Cut against the generated code: what that accepts, they take apart in the same way.
func FuzzPacket(f *testing.F) {
	ping := &linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{Token: 7}}}
	for _, p := range []*linkv1.Packet{
		{},
		{Controls: []*linkv1.Control{ping, ping}},
		{Controls: []*linkv1.Control{ping}, Frames: []*linkv1.Frame{{Call: 1, Data: []byte("x")}, {Call: 2, Window: 9}}},
	} {
		raw, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(append([]byte{15 << 3, 7}, raw...))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		want := new(linkv1.Packet)
		if proto.Unmarshal(raw, want) != nil {
			return
		}
		controls, frames, ok := parts(raw)
		if !ok || len(controls) > len(want.GetControls()) || len(frames) > len(want.GetFrames()) {
			t.Fatalf("%x: %d controls, %d frames, %v; the generated code reads %v", raw, len(controls), len(frames), ok, want)
		}
		for i, body := range frames {
			got := new(linkv1.Frame)
			if err := proto.Unmarshal(body, got); err != nil || len(frames) == len(want.GetFrames()) && !proto.Equal(got, want.GetFrames()[i]) {
				t.Fatalf("frame %d of %x: %v, %v", i, raw, got, err)
			}
		}
		for target := range len(raw) + 2 {
			n := Cut(raw, target)
			if n < min(target, len(raw)) || n > len(raw) {
				t.Fatalf("%x: the first %d bytes are %d", raw, target, n)
			}
			if _, _, ok := parts(raw[:n]); !ok {
				t.Fatalf("%x is cut within a field, at %d", raw, n)
			}
		}
	})
}

func TestControl(t *testing.T) {
	body := []byte("\x08\x01")
	hello := AppendControl(nil, ControlHello, body)
	packet := new(linkv1.Packet)
	if err := proto.Unmarshal(hello, packet); err != nil || packet.GetControls()[0].GetHello().GetVersion() != 1 {
		t.Errorf("the generated code reads %v, %v", packet, err)
	}
	unknown := []byte{15 << 3, 7}
	got, ok := ParseControl(append(bytes.Clone(hello), unknown...), ControlHello)
	if !ok || !bytes.Equal(got, body) {
		t.Errorf("read %x, %v", got, ok)
	}
	frame := AppendWindow(nil, 1, 5)
	for name, p := range map[string][]byte{
		"nothing":         nil,
		"another control": AppendControl(nil, ControlProof, body),
		"two controls":    AppendControl(bytes.Clone(hello), ControlHello, body),
		"one more":        AppendControl(bytes.Clone(hello), ControlJoin, body),
		"a frame":         append(bytes.Clone(hello), frame...),
		"truncated":       hello[:len(hello)-1],
	} {
		if got, ok := ParseControl(p, ControlHello); ok {
			t.Errorf("%s: read %x", name, got)
		}
	}
}
