package h2link

import (
	"encoding/binary"
	"time"

	"golang.org/x/net/http2"
)

// What has been written may lie in the sockets' buffers for long: they take megabytes, and whatever is
// sent next waits behind it. So that a sender can hold its bulk back instead, a Conn finds out by PING
// how much the peer has read. How much may be under way follows from bandwidth and delay, as in BBR
// (Cardwell et al., BBR: Congestion-Based Congestion Control, 2016).

const (
	// minFlight is how much may be under way on any path.
	minFlight = 384 << 10
	// pingEvery is how much is sent between two PINGs at least, and maxPings how many are under way at
	// most: each shows a part of what has been read.
	pingEvery = minFlight / 3
	maxPings  = 16
	// delayAge is how long a measured delay counts; then less is sent for once, to see it anew.
	delayAge = 10 * time.Second
)

// flight is what is under way to the peer. Conn.mu guards it.
type flight struct {
	sent, read uint64 // bytes of DATA: written, and known to have been read
	limit      uint64 // how much may be under way

	mark   uint64        // see AfterSent
	marked chan struct{} // nil: nobody waits for that
	hold   uint64        // no more than that is sent; 0: see Hold

	pings    [maxPings]ping // those under way, the oldest first
	pinging  int            // how many that are
	count    uint64         // of all pings
	shortest time.Duration  // delay, since
	since    time.Time
}

// ping is a PING under way.
type ping struct {
	mark   uint64 // what had been sent before it
	before uint64 // what was known to have been read then
	at     time.Time
}

func (f *flight) crowded() bool { return f.sent-f.read >= f.limit }

// ping queues a PING behind what has been written, if it is time for one, and reports whether it has.
func (f *flight) ping(w *http2.Framer) bool {
	marked := f.read
	if f.pinging > 0 {
		marked = f.pings[f.pinging-1].mark
	}
	if f.pinging == maxPings || f.sent-marked < max(pingEvery, f.limit/maxPings) {
		return false
	}
	f.pings[f.pinging] = ping{mark: f.sent, before: f.read, at: time.Now()}
	f.pinging++
	f.count++
	_ = w.WritePing(false, token(f.count))
	return true
}

func token(n uint64) (t [8]byte) {
	binary.BigEndian.PutUint64(t[:], n)
	return t
}

// undo takes back n bytes that could not be written.
func (f *flight) undo(n int) {
	f.sent -= uint64(n)
	for i := range f.pings[:f.pinging] {
		f.pings[i].mark = min(f.pings[i].mark, f.sent)
	}
}

// acked takes the answer to a PING and reports whether it is the one to the oldest of ours.
func (f *flight) acked(t [8]byte, now time.Time) bool {
	if f.pinging == 0 || t != token(f.count-uint64(f.pinging)+1) {
		return false
	}
	p := f.pings[0]
	copy(f.pings[:], f.pings[1:f.pinging])
	f.pinging--
	f.read = p.mark
	f.measure(p, max(now.Sub(p.at), time.Microsecond), now)
	return true
}

// measure learns from a PING that took delay to be answered. The shortest delay is the path's own only if
// little was under way.
func (f *flight) measure(p ping, delay time.Duration, now time.Time) {
	under := p.mark - p.before
	if under <= minFlight && (f.shortest == 0 || delay < f.shortest) {
		f.shortest, f.since = delay, now
	}
	if now.Sub(f.since) > delayAge {
		f.shortest = 0
	}
	// Twice what the path holds, so that its bandwidth shows where it is more than was thought.
	holds := float64(under) * float64(f.shortest) / float64(delay)
	f.limit = max(minFlight, uint64(2*holds))
}

// Crowded reports whether so much is under way to the peer that bulk had better wait. Once that is over,
// the function that OnRelief was given is called.
func (c *Conn) Crowded() bool { return c.crowded.Load() }

// OnRelief sets what is called when Crowded begins to report false: by the goroutine in Receive, which it
// must not hold up. It is set while nobody is in Receive.
func (c *Conn) OnRelief(f func()) { c.relieved = f }

// noteFlight updates what Crowded reports. c.mu is held.
func (c *Conn) noteFlight() {
	if crowded := c.state.flight.crowded(); crowded != c.crowded.Load() {
		c.crowded.Store(crowded)
	}
}

// pingAcked takes the answer to a PING.
func (c *Conn) pingAcked(token [8]byte) error {
	c.mu.Lock()
	was := c.crowded.Load()
	ours := c.state.flight.acked(token, time.Now())
	if ours {
		// It may be that nothing more is written until there is relief.
		c.reading.queued = c.state.flight.ping(c.state.frames) || c.reading.queued
	}
	c.noteFlight()
	relief := was && !c.crowded.Load()
	c.mu.Unlock()
	if relief && c.relieved != nil {
		c.relieved()
	}
	if ours {
		return nil
	}
	return c.useless()
}

// Sent returns how many bytes of the stream's body have been sent.
func (c *Conn) Sent() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.flight.sent
}

// AfterSent returns a channel that is closed once n bytes of the stream's body have been sent. It replaces that of
// an earlier call, which then stays open.
func (c *Conn) AfterSent(n uint64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.state.flight
	f.mark, f.marked = n, make(chan struct{})
	marked := f.marked
	f.noteMark()
	return marked
}

// Hold has senders wait, as for a window, once n bytes of the stream's body have been sent, until Lift is called.
func (c *Conn) Hold(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.flight.hold = n
}

// Lift ends what Hold has begun.
func (c *Conn) Lift() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.flight.hold = 0
	c.cond.Broadcast()
}

// held returns how many bytes may be sent before Lift.
func (f *flight) held() int64 {
	if f.hold == 0 {
		return maxWindow
	}
	return max(0, int64(f.hold)-int64(f.sent))
}

// noteMark tells who waits for AfterSent.
func (f *flight) noteMark() {
	if f.marked != nil && f.sent >= f.mark {
		close(f.marked)
		f.marked = nil
	}
}
