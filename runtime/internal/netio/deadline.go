package netio

import (
	"net"
	"time"
)

// WriteDeadline keeps the write deadline of a connection ahead. Each setting of one costs: it is set further ahead than
// it is needed, and left there between writes. Who has the connection to write uses it.
type WriteDeadline struct{ at time.Time }

// Extend lets a write that begins now take d at least, and a quarter more at most.
func (w *WriteDeadline) Extend(nc net.Conn, d time.Duration) {
	now := time.Now()
	if w.at.Sub(now) >= d {
		return
	}
	w.at = now.Add(d + d/4) // short: no user sets it
	_ = nc.SetWriteDeadline(w.at)
}

// Clear ends that: [Socket.TryWrite] fails once a deadline has passed.
func (w *WriteDeadline) Clear(nc net.Conn) {
	w.at = time.Time{}
	_ = nc.SetWriteDeadline(w.at)
}

// CloseWrite ends writing to nc, which the peer reads as [io.EOF], and reports whether nc can do that. Reading goes
// on.
func CloseWrite(nc net.Conn) bool {
	hc, ok := nc.(interface{ CloseWrite() error })
	return ok && hc.CloseWrite() == nil
}
