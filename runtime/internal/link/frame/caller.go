package frame

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// MaxCallerText bounds each text of a Caller, in bytes.
const MaxCallerText = 256

// Caller is who made a call, as the wire has it. It is shared, and not to be changed.
type Caller struct {
	// Node and Name are those of the member at which the call came into the mesh.
	Node nodeid.ID
	Name string
	// Gateway and Token are the names of the gateway that let it in, and of the token that it was admitted by.
	Gateway, Token string
	// Proxy is the name of the proxy that made it.
	Proxy string
	// Address is the network address outside, of the gateway's caller or of the proxy.
	Address string
}

// Tags of the fields of Caller.
const (
	tagCallerNode = 1<<3 | 2
	tagCallerName = 2<<3 | 2
)

// texts are the texts of a Caller in the order of their fields, from the second on.
func (c *Caller) texts() [5]string {
	return [...]string{c.Name, c.Gateway, c.Token, c.Proxy, c.Address}
}

func (c *Caller) size() int {
	n := 1 + sizeBytes(len(c.Node))
	for _, text := range c.texts() {
		if text != "" {
			n += 1 + sizeBytes(len(text))
		}
	}
	return n
}

// AppendTo appends the field caller of Open; nothing where there is none.
func (c *Caller) AppendTo(b []byte) []byte {
	if c == nil {
		return b
	}
	b = append(b, tagCaller)
	b = protowire.AppendVarint(b, uint64(c.size()))
	b = appendBytes(b, tagCallerNode, c.Node[:])
	for i, text := range c.texts() {
		if text != "" {
			b = appendString(b, tagCallerName+byte(i)<<3, text)
		}
	}
	return b
}

// parseCaller reads the body of a Caller.
func parseCaller(b []byte) (*Caller, error) {
	c := new(Caller)
	texts := [...]*string{&c.Name, &c.Gateway, &c.Token, &c.Proxy, &c.Address}
	err := eachBytes(b, func(num protowire.Number, v []byte) error {
		i := int(num) - 2
		switch {
		case num == 1 && len(v) != len(c.Node):
			return Malformed("the id of the caller's node is not 16 bytes")
		case num == 1:
			c.Node = nodeid.ID(v)
		case i < 0 || i >= len(texts):
		case len(v) > MaxCallerText || !utf8.Valid(v) || bytes.ContainsFunc(v, isControl):
			return Malformed("a text of the caller's that is too long or not printable")
		default:
			*texts[i] = string(v)
		}
		return nil
	})
	if err == nil && c.Node == (nodeid.ID{}) {
		err = Malformed("a caller without a node")
	}
	return c, err
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// CallerText returns s as a text of a Caller may be: cut where it is too long, without what is not printable.
func CallerText(s string) string {
	if len(s) <= MaxCallerText && utf8.ValidString(s) && !strings.ContainsFunc(s, isControl) {
		return s
	}
	s = strings.ToValidUTF8(s[:min(len(s), MaxCallerText)], "")
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return -1
		}
		return r
	}, s)
}
