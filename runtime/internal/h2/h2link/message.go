package h2link

import (
	"encoding/binary"
	"slices"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// A Connect message has a prefix of one byte of flags and four of length:
// https://connectrpc.com/docs/protocol#streaming-request
const (
	prefixSize     = 5
	prefixOffset   = HeadRoom - prefixSize
	flagCompressed = 1
	flagEndStream  = 2
)

// putPrefix writes the prefix of p[HeadRoom:] before it.
func putPrefix(p []byte, flags byte) error {
	n := len(p) - HeadRoom
	if n < 0 || uint64(n) > 1<<32-1 {
		return connect.Errorf(connect.CodeInternal, "a packet of %d bytes with its head room is none", len(p))
	}
	p[prefixOffset] = flags
	binary.BigEndian.PutUint32(p[prefixOffset+1:], uint32(n))
	return nil
}

// message reads one message after the other from the pieces that DATA frames make of them.
type message struct {
	prefix    [prefixSize]byte
	prefixLen int    // bytes of prefix
	size      int    // of the message, from its prefix
	body      []byte // what has come of a message that does not lie whole in the input
	data      []byte // the last message, whole
}

// started reports whether part of a message has been read.
func (m *message) started() bool { return m.prefixLen > 0 }

// read reads up to n bytes of in and returns how many, and whether data is now a whole message.
func (m *message) read(in *netio.Input, n, limit int) (used int, whole bool, err error) {
	if m.prefixLen < prefixSize {
		if used, err = m.readPrefix(in, n, limit); err != nil || m.prefixLen < prefixSize {
			return used, false, err
		}
	}
	n, whole, err = m.readBody(in, n-used)
	return used + n, whole, err
}

func (m *message) readPrefix(in *netio.Input, n, limit int) (int, error) {
	if err := in.Wait(1); err != nil {
		return 0, err
	}
	b := in.Buffered()
	n = copy(m.prefix[m.prefixLen:], b[:min(n, len(b))])
	in.Next(n)
	m.prefixLen += n
	if m.prefixLen < prefixSize {
		return n, nil
	}
	size := binary.BigEndian.Uint32(m.prefix[1:])
	switch {
	case m.prefix[0]&flagCompressed != 0:
		return n, connect.NewError(connect.CodeInternal, "the peer sent a compressed message, but identity is all that was agreed on")
	case m.prefix[0]&^flagEndStream != 0:
		return n, connect.Errorf(connect.CodeInternal, "the peer sent a message with unknown flags %#x", m.prefix[0])
	case int64(size) > int64(limit):
		return n, connect.Errorf(connect.CodeResourceExhausted, "the peer sent a message of %d bytes, more than the limit of %d", size, limit)
	}
	m.size, m.body = int(size), m.body[:0]
	return n, nil
}

func (m *message) readBody(in *netio.Input, n int) (int, bool, error) {
	need := m.size - len(m.body)
	if len(m.body) == 0 && need <= min(n, in.Size()) {
		if err := in.Wait(need); err != nil {
			return 0, false, err
		}
		m.data, m.prefixLen = in.Next(need), 0
		return need, true, nil
	}
	if n == 0 {
		return 0, false, nil
	}
	// No more is allocated than a peer has sent, but for the last piece.
	have, n := len(m.body), min(n, need, netio.MaxBuffer)
	m.body = slices.Grow(m.body, n)
	n, err := in.Read(m.body[have : have+n])
	if m.body = m.body[:have+n]; err != nil || len(m.body) < m.size {
		return n, false, err
	}
	m.data, m.prefixLen = m.body, 0
	return n, true, nil
}

// endsIn reports whether the message being read ends in b, which goes on in d. It looks no further
// than DATA frames of the stream without padding: otherwise it reports false, which is always allowed.
func (m message) endsIn(d dataFrame, b []byte, stream uint32) bool {
	for {
		part := b[:min(d.remaining, len(b))]
		b = b[len(part):]
		d.remaining -= len(part)
		if m.prefixLen < prefixSize {
			n := copy(m.prefix[m.prefixLen:], part)
			part = part[n:]
			if m.prefixLen += n; m.prefixLen == prefixSize {
				m.size, m.body = int(binary.BigEndian.Uint32(m.prefix[1:])), nil
			}
		}
		if m.prefixLen == prefixSize {
			if m.size -= len(part); m.size <= len(m.body) {
				return true
			}
		}
		if d.remaining > 0 || d.padding > 0 || d.endStream || len(b) < h2core.FrameHeaderSize {
			return false
		}
		fh := h2core.ParseFrameHeader(b)
		d.remaining = int(fh.Length)
		d.endStream = fh.Flags.Has(http2.FlagDataEndStream)
		if fh.Type != http2.FrameData || fh.Flags&^http2.FlagDataEndStream != 0 || fh.StreamID != stream {
			return false
		}
		b = b[h2core.FrameHeaderSize:]
	}
}
