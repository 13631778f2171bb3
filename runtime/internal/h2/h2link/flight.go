package h2link

import (
	"encoding/binary"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// What has been written may lie in the sockets' buffers for long: they take megabytes, and whatever is
// sent next waits behind it. So that a sender can hold its bulk back instead, a Conn finds out by PING
// how much the peer has read. How much may be under way follows from bandwidth and delay, as in BBR
// (Cardwell et al., BBR: Congestion-Based Congestion Control, 2016).

const (
	// minInFlight is how much may be under way on any path.
	minInFlight = 384 << 10
	// bytesPerPing is how much is sent between two PINGs at least, and maxPings how many are under way at
	// most: each shows a part of what has been read.
	bytesPerPing = minInFlight / 3
	maxPings     = 16
	// minRTTExpiry is how long a measured delay counts; then less is sent for once, to see it anew.
	minRTTExpiry = 10 * time.Second
)

// flight is what is under way to the peer. Conn.mu guards it.
type flight struct {
	sentBytes, ackedBytes uint64 // bytes of DATA: written, and known to have been read
	limit                 uint64 // how much may be under way

	notifyAt  uint64        // see AfterSent
	notify    chan struct{} // nil: nobody waits for that
	sendLimit uint64        // no more than that is sent; 0: see Hold

	pings     [maxPings]sentPing // those under way, the oldest first
	numPings  int                // how many that are
	pingCount uint64             // of all pings
	minRTT    time.Duration      // delay, since
	minRTTAt  time.Time
}

// sentPing is a PING under way.
type sentPing struct {
	sentBytes  uint64 // what had been sent before it
	ackedBytes uint64 // what was known to have been read then
	sentAt     time.Time
}

func (f *flight) congested() bool { return f.sentBytes-f.ackedBytes >= f.limit }

// pingIfDue queues a PING behind what has been written, if it is time for one, and reports whether it has.
func (f *flight) pingIfDue(q *controlQueue) bool {
	marked := f.ackedBytes
	if f.numPings > 0 {
		marked = f.pings[f.numPings-1].sentBytes
	}
	if f.numPings == maxPings || f.sentBytes-marked < max(bytesPerPing, f.limit/maxPings) {
		return false
	}
	f.pings[f.numPings] = sentPing{sentBytes: f.sentBytes, ackedBytes: f.ackedBytes, sentAt: time.Now()}
	f.numPings++
	f.pingCount++
	q.buf = h2core.AppendPing(q.buf, false, pingData(f.pingCount))
	return true
}

func pingData(n uint64) (t [8]byte) {
	binary.BigEndian.PutUint64(t[:], n)
	return t
}

// undo takes back n bytes that could not be written.
func (f *flight) undo(n int) {
	f.sentBytes -= uint64(n)
	for i := range f.pings[:f.numPings] {
		f.pings[i].sentBytes = min(f.pings[i].sentBytes, f.sentBytes)
	}
}

// pingAcked takes the answer to a PING and reports whether it is the one to the oldest of ours.
func (f *flight) pingAcked(t [8]byte, now time.Time) bool {
	if f.numPings == 0 || t != pingData(f.pingCount-uint64(f.numPings)+1) {
		return false
	}
	p := f.pings[0]
	copy(f.pings[:], f.pings[1:f.numPings])
	f.numPings--
	f.ackedBytes = p.sentBytes
	f.updateLimit(p, max(now.Sub(p.sentAt), time.Microsecond), now)
	return true
}

// updateLimit learns from a PING that took delay to be answered. The shortest delay is the path's own only if
// little was under way.
func (f *flight) updateLimit(p sentPing, delay time.Duration, now time.Time) {
	under := p.sentBytes - p.ackedBytes
	if under <= minInFlight && (f.minRTT == 0 || delay < f.minRTT) {
		f.minRTT = delay
		f.minRTTAt = now
	}
	if now.Sub(f.minRTTAt) > minRTTExpiry {
		f.minRTT = 0
	}
	// Twice what the path holds, so that its bandwidth shows where it is more than was thought.
	holds := float64(under) * float64(f.minRTT) / float64(delay)
	f.limit = max(minInFlight, uint64(2*holds))
}

// Congested reports whether so much is under way to the peer that bulk had better wait. Once that is over,
// the function that OnUncongested was given is called.
func (c *Conn) Congested() bool { return c.congested.Load() }

// OnUncongested sets what is called when Congested begins to report false: by the goroutine in Receive, which it
// must not hold up. It is set while nobody is in Receive.
func (c *Conn) OnUncongested(f func()) { c.onUncongested = f }

// updateCongestedLocked updates what Congested reports.
func (c *Conn) updateCongestedLocked() {
	if crowded := c.state.flight.congested(); crowded != c.congested.Load() {
		c.congested.Store(crowded)
	}
}

// pingAckFrame takes the answer to a PING.
func (c *Conn) pingAckFrame(token [8]byte) error {
	c.mu.Lock()
	was := c.congested.Load()
	ours := c.state.flight.pingAcked(token, time.Now())
	if ours {
		// It may be that nothing more is written until there is relief.
		c.reading.controlQueued = c.state.flight.pingIfDue(&c.state.control) || c.reading.controlQueued
	}
	c.updateCongestedLocked()
	relief := was && !c.congested.Load()
	c.mu.Unlock()
	if relief && c.onUncongested != nil {
		c.onUncongested()
	}
	if ours {
		return nil
	}
	return c.countIdleFrame()
}

// Sent returns how many bytes of the stream's body have been sent.
func (c *Conn) Sent() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.flight.sentBytes
}

// AfterSent returns a channel that is closed once n bytes of the stream's body have been sent. It replaces that of
// an earlier call, which then stays open.
func (c *Conn) AfterSent(n uint64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.state.flight
	f.notifyAt = n
	f.notify = make(chan struct{})
	marked := f.notify
	f.notifySent()
	return marked
}

// Hold has senders wait, as for a window, once n bytes of the stream's body have been sent, until Lift is called.
func (c *Conn) Hold(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.flight.sendLimit = n
}

// Lift ends what Hold has begun.
func (c *Conn) Lift() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.flight.sendLimit = 0
	c.cond.Broadcast()
}

// allowance returns how many bytes may be sent before Lift.
func (f *flight) allowance() int64 {
	if f.sendLimit == 0 {
		return h2core.MaxWindow
	}
	return max(0, int64(f.sendLimit)-int64(f.sentBytes))
}

// notifySent closes the channel of AfterSent once enough has been sent.
func (f *flight) notifySent() {
	if f.notify != nil && f.sentBytes >= f.notifyAt {
		close(f.notify)
		f.notify = nil
	}
}
