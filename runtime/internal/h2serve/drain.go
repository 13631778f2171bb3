package h2serve

import (
	"math"
	"time"

	"golang.org/x/net/http2"
)

// leaving is how far a connection has come to its end in order (RFC 9113 section 6.8).
type leaving uint8

const (
	staying leaving = iota
	// asked: the client was told to open no more streams. Those that it opens before it knows are served.
	asked
	// gone: the client was told which stream was the last. No later one is served.
	gone
)

// parting is the data of the PING behind the first GOAWAY: its answer says that the client has read that.
var parting = [8]byte{'g', 'o', ' ', 'a', 'w', 'a', 'y', '.'}

// goAway asks the client to open no more streams on the connection, which ends when the last one has.
func (c *Conn) goAway() {
	c.mu.Lock()
	if c.state.err != nil || c.state.leaving != staying {
		c.mu.Unlock()
		return
	}
	c.state.leaving = asked
	c.putGoAway(math.MaxInt32, &breach{code: http2.ErrCodeNo})
	c.out = appendFrameHeader(c.out, len(parting), http2.FramePing, 0, 0)
	c.out = append(c.out, parting[:]...)
	c.partingTimer = time.AfterFunc(goAwayTime, c.gone)
	c.mu.Unlock()
	c.FlushNow()
}

// gone says which stream was the last: later ones are refused, and so have not begun.
func (c *Conn) gone() {
	c.mu.Lock()
	if c.state.err != nil || c.state.leaving != asked {
		c.mu.Unlock()
		return
	}
	c.partingTimer.Stop()
	c.state.leaving, c.state.final = gone, c.state.last
	c.putGoAway(c.state.final, &breach{code: http2.ErrCodeNo})
	c.endIfLeftLocked()
	c.mu.Unlock()
	c.FlushNow()
}

// closedLocked counts a stream that is over, and whose handler has returned.
func (c *Conn) closedLocked(st *stream) {
	c.state.open--
	st.stopTimers()
	c.endIfLeftLocked()
}

// endIfLeftLocked ends the connection if the last of its streams has, and there are to be no more.
func (c *Conn) endIfLeftLocked() {
	if c.state.leaving == gone && c.state.open == 0 && c.state.err == nil {
		c.state.err = errLeft
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // the reader ends the connection
		c.cond.Broadcast()
	}
}

// lastServedLocked is the last stream that may have been served.
func (c *Conn) lastServedLocked() uint32 {
	if c.state.leaving == gone {
		return c.state.final
	}
	return c.state.last
}

func (c *Conn) stopParting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.partingTimer != nil {
		c.partingTimer.Stop()
	}
}
