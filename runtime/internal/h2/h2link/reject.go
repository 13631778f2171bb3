package h2link

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// maxDiscarded is how much is read, and dropped, from a peer whose TLS handshake has failed.
const maxDiscarded = 64 << 10

// rejectHandshake ends a connection whose TLS handshake has failed by err, so that the other end gets to know why: a socket
// that is closed while there is something to read takes what it has not delivered with it, TLS's alert too. One
// that speaks HTTP/1 is left to net/http, which answers it; one that speaks HTTP/2 in cleartext is answered here.
func (l *Listener) rejectHandshake(nc net.Conn, err error) {
	if cleartext, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if string(cleartext.RecordHeader[:]) != http2.ClientPreface[:len(cleartext.RecordHeader)] {
			return
		}
		if sendTLSRequired(nc, l.opts.CloseTimeout) != nil {
			return
		}
	}
	if d, ok := nc.(*socketConn); ok {
		nc = d.Conn
	}
	netio.CloseWrite(nc)
	_ = nc.SetReadDeadline(time.Now().Add(l.opts.CloseTimeout))
	_, _ = io.CopyN(io.Discard, nc, maxDiscarded)
}

// sendTLSRequired answers cleartext HTTP/2 with a GOAWAY: this port speaks TLS.
func sendTLSRequired(nc net.Conn, timeout time.Duration) error {
	b := h2core.AppendSettings(nil)
	b = h2core.AppendGoAway(b, 0, http2.ErrCodeInadequateSecurity, "this port speaks TLS: use https")
	_ = nc.SetWriteDeadline(time.Now().Add(timeout))
	_, err := nc.Write(b)
	return err
}
