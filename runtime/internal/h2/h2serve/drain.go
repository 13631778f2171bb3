package h2serve

import (
	"math"
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// drainState is how far a connection has come to its end in order (RFC 9113 section 6.8).
type drainState uint8

const (
	notDraining drainState = iota
	// goAwaySent: the first GOAWAY has been sent. Streams that the client opens before it has read that are served.
	goAwaySent
	// finalGoAwaySent: the second GOAWAY has been sent, with the last stream. No later one is served.
	finalGoAwaySent
)

// drainPing is the data of the PING behind the first GOAWAY: its acknowledgement shows that the client has read that.
var drainPing = [8]byte{'g', 'o', ' ', 'a', 'w', 'a', 'y', '.'}

// goAway asks the client to open no more streams on the connection, which ends when the last one has.
func (c *Conn) goAway() {
	c.mu.Lock()
	if c.state.err != nil || c.state.drain != notDraining {
		c.mu.Unlock()
		return
	}
	c.state.drain = goAwaySent
	c.putGoAwayLocked(math.MaxInt32, &h2core.ConnError{Code: http2.ErrCodeNo})
	c.out = h2core.AppendPing(c.out, false, drainPing)
	c.drainTimer = time.AfterFunc(drainPingTimeout, c.sendFinalGoAway)
	c.mu.Unlock()
	c.FlushNow()
}

// sendFinalGoAway sends the second GOAWAY, with the last stream: later ones are refused, and so have not begun.
func (c *Conn) sendFinalGoAway() {
	c.mu.Lock()
	if c.state.err != nil || c.state.drain != goAwaySent {
		c.mu.Unlock()
		return
	}
	c.drainTimer.Stop()
	c.state.drain, c.state.lastStream = finalGoAwaySent, c.state.lastOpened
	c.putGoAwayLocked(c.state.lastStream, &h2core.ConnError{Code: http2.ErrCodeNo})
	c.endIfDrainedLocked()
	c.mu.Unlock()
	c.FlushNow()
}

// streamClosedLocked counts a stream that is over, and whose handler has returned.
func (c *Conn) streamClosedLocked(st *stream) {
	c.state.open--
	st.stopTimersLocked()
	c.endIfDrainedLocked()
}

// endIfDrainedLocked ends the connection if the last of its streams has, and there are to be no more.
func (c *Conn) endIfDrainedLocked() {
	if c.state.drain == finalGoAwaySent && c.state.open == 0 && c.state.err == nil {
		c.state.err = errDrained
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // the reader ends the connection
		c.cond.Broadcast()
	}
}

// lastServedLocked is the last stream that may have been served.
func (c *Conn) lastServedLocked() uint32 {
	if c.state.drain == finalGoAwaySent {
		return c.state.lastStream
	}
	return c.state.lastOpened
}

func (c *Conn) stopDrainPing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drainTimer != nil {
		c.drainTimer.Stop()
	}
}
