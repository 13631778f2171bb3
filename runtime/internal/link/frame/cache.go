package frame

import (
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// OpenCache keeps what the Opens of a peer say again and again. One goroutine at a time may use it. The zero value is
// empty.
type OpenCache struct {
	names   nameCache
	callers callerCache
	last    *cachedCallee
	entries map[string]*cachedCallee
}

// cachedCallee is a callee with the bytes that encode it.
type cachedCallee struct {
	Callee

	raw string
}

const (
	// maxCachedCallees and maxCachedCallee bound what a peer can fill the cache with, in entries and in bytes of one.
	maxCachedCallees = 512
	maxCachedCallee  = 512
)

// callee returns the callee that the fields of an Open in raw describe.
func (c *OpenCache) callee(raw []byte) (*Callee, error) {
	if c.last != nil && string(raw) == c.last.raw {
		return &c.last.Callee, nil
	}
	if known, ok := c.entries[string(raw)]; ok {
		c.last = known
		return &known.Callee, nil
	}
	o := Open{Callee: new(Callee)}
	if err := o.parseFields(raw, c); err != nil || len(raw) > maxCachedCallee {
		return o.Callee, err
	}
	if c.entries == nil || len(c.entries) >= maxCachedCallees {
		c.entries = make(map[string]*cachedCallee)
	}
	c.last = &cachedCallee{Callee: *o.Callee, raw: string(raw)}
	c.last.Cached = true
	c.entries[c.last.raw] = c.last
	return &c.last.Callee, nil
}

// sizeCallee is the length of the fields at the start of an Open that describe the callee. Such fields further on are
// read one by one.
func sizeCallee(b []byte) int {
	size := 0
	for size < len(b) {
		switch b[size] {
		case tagNamespace, tagProcedure, tagOrigin, tagOriginNamespace:
		default:
			return size
		}
		_, n := protowire.ConsumeBytes(b[size+1:])
		if n < 0 {
			return size
		}
		size += 1 + n
	}
	return size
}

// withField returns the callee with another value of the field num.
func (c *Callee) withField(num protowire.Number, v []byte, names *nameCache) (*Callee, error) {
	changed := *c
	changed.Cached = false
	var err error
	switch num {
	case 1:
		changed.Namespace, err = names.intern(v, maxNamespace)
	case 2:
		changed.Procedure, err = names.intern(v, maxProcedure)
	case 3:
		if len(v) != len(changed.Origin) {
			return nil, Malformed("the origin's id is not 16 bytes")
		}
		changed.Origin = nodeid.ID(v)
	case 4:
		changed.OriginNamespace, err = names.intern(v, maxNamespace)
	}
	return &changed, err
}

// nameCache keeps one string for each name that a peer repeats.
type nameCache struct{ names map[string]string }

// maxCachedNames bounds what a peer can fill the cache with.
const maxCachedNames = 1024

func (c *nameCache) intern(b []byte, limit int) (string, error) {
	if s, ok := c.names[string(b)]; ok && len(b) <= limit {
		return s, nil
	}
	if len(b) > limit || !utf8.Valid(b) {
		return "", connect.Errorf(connect.CodeInvalidArgument, "link: a name that is longer than %d bytes or not UTF-8", limit)
	}
	if c.names == nil || len(c.names) >= maxCachedNames {
		c.names = make(map[string]string)
	}
	s := string(b)
	c.names[s] = s
	return s, nil
}

// callerCache keeps the callers that a peer repeats.
type callerCache struct {
	last    *Caller
	raw     string // of last
	entries map[string]*Caller
}

// maxCachedCallers bounds what a peer can fill the cache with.
const maxCachedCallers = 128

func (c *callerCache) lookup(b []byte) (*Caller, error) {
	if c.last != nil && string(b) == c.raw {
		return c.last, nil
	}
	if known, ok := c.entries[string(b)]; ok {
		return known, nil
	}
	parsed, err := parseCaller(b)
	if err != nil {
		return nil, err
	}
	if c.entries == nil || len(c.entries) >= maxCachedCallers {
		c.entries = make(map[string]*Caller)
	}
	c.last, c.raw = parsed, string(b)
	c.entries[c.raw] = parsed
	return parsed, nil
}
