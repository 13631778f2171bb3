package h2link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// protocol is what the first bytes of a connection tell.
type protocol int

const (
	protocolUnknown protocol = iota
	protocolOther            // it is for net/http
	protocolLink             // a marked dialler's
	protocolHTTP2            // another's who speaks HTTP/2
)

// No first SETTINGS of a dialler's has more than that many settings.
const (
	maxSniffedSettings = 16
	sniffSize          = len(http2.ClientPreface) + h2core.FrameHeaderSize + 6*maxSniffedSettings
)

// detectProtocol looks for the mark in the first bytes of a connection. It decides once it has sniffSize.
func detectProtocol(p []byte) protocol {
	n := min(len(p), len(http2.ClientPreface))
	if string(p[:n]) != http2.ClientPreface[:n] {
		return protocolOther
	}
	if n < len(http2.ClientPreface) {
		return protocolUnknown
	}
	fr := http2.NewFramer(nil, bytes.NewReader(p[n:]))
	fr.SetMaxReadFrameSize(6 * maxSniffedSettings)
	head, err := fr.ReadFrameHeader()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return protocolUnknown
	}
	if err != nil || head.Type != http2.FrameSettings {
		return protocolHTTP2
	}
	f, err := fr.ReadFrameForHeader(head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return protocolUnknown
	}
	if settings, ok := f.(*http2.SettingsFrame); ok && err == nil {
		if value, ok := settings.Value(settingLink); ok && value == settingLinkValue {
			return protocolLink
		}
	}
	return protocolHTTP2
}

// sniffConn reads from nc until it can tell whose it is, at most until the deadline, and returns
// what it has read. A connection on which nothing comes is left to net/http, which has timeouts of its own.
func sniffConn(nc net.Conn, deadline time.Time) ([]byte, protocol) {
	_ = nc.SetReadDeadline(deadline)
	defer func() { _ = nc.SetReadDeadline(time.Time{}) }()
	buf := make([]byte, sniffSize)
	n := 0
	for n < len(buf) {
		m, err := nc.Read(buf[n:])
		n += m
		if v := detectProtocol(buf[:n]); v != protocolUnknown {
			return buf[:n], v
		}
		if err != nil {
			break
		}
	}
	return buf[:n], protocolOther
}

// replayConn reads what has been read before, then the connection.
type replayConn struct {
	net.Conn
	head []byte
}

func (r *replayConn) Read(p []byte) (int, error) {
	if len(r.head) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}

// replayTCPConn is replay with all else that a TCP connection can do.
type replayTCPConn struct {
	*net.TCPConn
	replay replayConn
}

func (r *replayTCPConn) Read(p []byte) (int, error) { return r.replay.Read(p) }

// WriteTo keeps io.Copy from going past what is replayed.
func (r *replayTCPConn) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(r.replay.head)
	r.replay.head = r.replay.head[n:]
	if err != nil {
		return int64(n), err
	}
	m, err := r.TCPConn.WriteTo(w)
	return int64(n) + m, err
}

// newReplayConn returns nc as it was before head was read.
func newReplayConn(nc net.Conn, head []byte) net.Conn {
	if len(head) == 0 {
		return nc
	}
	r := replayConn{Conn: nc, head: head}
	if tc, ok := nc.(*net.TCPConn); ok {
		return &replayTCPConn{TCPConn: tc, replay: r}
	}
	return &r
}
