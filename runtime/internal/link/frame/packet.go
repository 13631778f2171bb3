package frame

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// Tags of the fields of Packet.
const (
	tagControl = 1<<3 | 2
	tagFrame   = 2<<3 | 2
)

// Part is a kind of field of a packet.
type Part uint8

const (
	// PartUnknown is of a later version, and to be skipped.
	PartUnknown Part = iota
	// PartControl is a Control.
	PartControl
	// PartFrame is a Frame.
	PartFrame
)

// NextPart returns the first field of a packet, its body and how many bytes it takes; fewer than none where it is
// malformed.
func NextPart(p []byte) (part Part, body []byte, n int) {
	tag := p[0]
	if tag != tagControl && tag != tagFrame {
		_, _, n = protowire.ConsumeField(p)
		return PartUnknown, nil, n
	}
	body, n = protowire.ConsumeBytes(p[1:])
	if n < 0 {
		return PartUnknown, nil, n
	}
	if tag == tagControl {
		return PartControl, body, 1 + n
	}
	return PartFrame, body, 1 + n
}

// Cut returns the length of the first fields of p that together are target bytes long or more.
func Cut(p []byte, target int) int {
	n := 0
	for n < len(p) && n < target {
		_, _, size := protowire.ConsumeField(p[n:])
		n += size
	}
	return n
}

// Numbers of the fields of Control that a handshake consists of.
const (
	ControlHello = 1
	ControlProof = 2
	ControlJoin  = 3

	lastControl = 7
)

// AppendControl appends a packet of one control, whose field num is body.
func AppendControl(b []byte, num byte, body []byte) []byte {
	return appendBytes(b, tagControl, appendBytes(nil, num<<3|2, body))
}

// ParseControl returns the field num of the one control that p must be, and whether it is that and nothing else that
// this version knows.
func ParseControl(p []byte, num protowire.Number) (body []byte, ok bool) {
	found := 0
	field := func(n protowire.Number, v []byte) error {
		if n == num {
			body = v
			found++
		} else if n <= lastControl {
			return Malformed("another control")
		}
		return nil
	}
	err := eachBytes(p, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			return eachBytes(v, field)
		case 2:
			return Malformed("a frame in the handshake")
		}
		return nil
	})
	return body, err == nil && found == 1
}
