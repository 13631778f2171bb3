package h2link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
)

// verdict is what the first bytes of a connection tell.
type verdict int

const (
	undecided verdict = iota
	others            // it is for net/http
	ours              // a marked dialler's
	prior             // another's who speaks HTTP/2
)

// No first SETTINGS of a dialler's has more than that many settings.
const (
	maxSniffed = 16
	sniffSize  = len(http2.ClientPreface) + frameHeaderSize + 6*maxSniffed
)

// judge looks for the mark in the first bytes of a connection. It decides once it has sniffSize.
func judge(p []byte) verdict {
	n := min(len(p), len(http2.ClientPreface))
	if string(p[:n]) != http2.ClientPreface[:n] {
		return others
	}
	if n < len(http2.ClientPreface) {
		return undecided
	}
	fr := http2.NewFramer(nil, bytes.NewReader(p[n:]))
	fr.SetMaxReadFrameSize(6 * maxSniffed)
	head, err := fr.ReadFrameHeader()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return undecided
	}
	if err != nil || head.Type != http2.FrameSettings {
		return prior
	}
	f, err := fr.ReadFrameForHeader(head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return undecided
	}
	if settings, ok := f.(*http2.SettingsFrame); ok && err == nil {
		if value, ok := settings.Value(markID); ok && value == markValue {
			return ours
		}
	}
	return prior
}

// sniffConn reads from nc until it can tell whose it is, at most until the deadline, and returns
// what it has read. Who says nothing is left to net/http, which has timeouts of its own.
func sniffConn(nc net.Conn, deadline time.Time) ([]byte, verdict) {
	_ = nc.SetReadDeadline(deadline)
	defer func() { _ = nc.SetReadDeadline(time.Time{}) }()
	buf := make([]byte, sniffSize)
	n := 0
	for n < len(buf) {
		m, err := nc.Read(buf[n:])
		n += m
		if v := judge(buf[:n]); v != undecided {
			return buf[:n], v
		}
		if err != nil {
			break
		}
	}
	return buf[:n], others
}

// replay reads what has been read before, then the connection.
type replay struct {
	net.Conn
	head []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.head) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}

// replayTCP is replay with all else that a TCP connection can do.
type replayTCP struct {
	*net.TCPConn
	replay replay
}

func (r *replayTCP) Read(p []byte) (int, error) { return r.replay.Read(p) }

// WriteTo keeps io.Copy from going past what is replayed.
func (r *replayTCP) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(r.replay.head)
	r.replay.head = r.replay.head[n:]
	if err != nil {
		return int64(n), err
	}
	m, err := r.TCPConn.WriteTo(w)
	return int64(n) + m, err
}

// replaying returns nc as it was before head was read.
func replaying(nc net.Conn, head []byte) net.Conn {
	if len(head) == 0 {
		return nc
	}
	r := replay{Conn: nc, head: head}
	if tc, ok := nc.(*net.TCPConn); ok {
		return &replayTCP{TCPConn: tc, replay: r}
	}
	return &r
}
