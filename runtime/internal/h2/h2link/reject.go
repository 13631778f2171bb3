package h2link

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
)

// maxDiscarded is how much of what somebody goes on to say is dropped whose TLS handshake has failed.
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
	if hc, ok := nc.(halfCloser); ok {
		_ = hc.CloseWrite()
	}
	_ = nc.SetReadDeadline(time.Now().Add(l.opts.CloseTimeout))
	_, _ = io.CopyN(io.Discard, nc, maxDiscarded)
}

// sendTLSRequired says in HTTP/2 that it is to be spoken over TLS.
func sendTLSRequired(nc net.Conn, patience time.Duration) error {
	var q controlQueue
	frames := http2.NewFramer(&q, nil)
	_ = frames.WriteSettings()
	_ = frames.WriteGoAway(0, http2.ErrCodeInadequateSecurity, []byte("this port speaks TLS: use https"))
	_ = nc.SetWriteDeadline(time.Now().Add(patience))
	_, err := nc.Write(q.takeAll())
	return err
}
