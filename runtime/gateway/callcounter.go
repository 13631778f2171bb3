package gateway

import (
	"crypto/sha256"
	"net/netip"
	"sync"

	"connectrpc.com/connect/v2"
)

// client is whose calls are counted together: the holders of one token, or the callers without a token from one
// address. It is comparable.
type client struct {
	token [sha256.Size]byte // its hash
	addr  netip.Addr
}

// clientByAddress returns the client at a network address, "host:port", without a token. An IPv6 network of 64 bits
// is one client, since whoever has one of its addresses has all.
func clientByAddress(address string) client {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return client{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil {
			addr = network.Addr()
		}
	}
	return client{addr: addr}
}

// clientByToken returns the client that has the token with a hash.
func clientByToken(hash [sha256.Size]byte) client { return client{token: hash} }

// callCounter counts the calls in progress, in total and by client. It may be used concurrently.
type callCounter struct {
	max, maxPerClient int

	mu       sync.Mutex
	total    int
	byClient map[client]int
}

func newCalls(most, mostOfOne int) *callCounter {
	return &callCounter{max: most, maxPerClient: mostOfOne, byClient: map[client]int{}}
}

// begin counts a call of a client until end, or returns which limit it exceeds.
func (c *callCounter) begin(who client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.total >= c.max:
		return connect.Errorf(connect.CodeResourceExhausted, "the gateway has %d calls under way, as many as its Config.MaxCalls allows: try again later", c.max)
	case c.byClient[who] >= c.maxPerClient:
		return c.tooMany(who)
	}
	c.total++
	c.byClient[who]++
	return nil
}

func (c *callCounter) tooMany(who client) error {
	whose := "with this token"
	if who.token == [sha256.Size]byte{} {
		whose = "from this address"
	}
	return connect.Errorf(connect.CodeResourceExhausted,
		"%d calls %s are under way, and the gateway takes no more of one caller, by its Config.MaxCallsPerCaller: wait for some to end", c.maxPerClient, whose)
}

// transfer moves a call to another client, or returns which limit it exceeds there.
func (c *callCounter) transfer(from, to client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if from == to {
		return nil
	}
	if c.byClient[to] >= c.maxPerClient {
		return c.tooMany(to)
	}
	c.decrementLocked(from)
	c.byClient[to]++
	return nil
}

func (c *callCounter) end(who client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	c.decrementLocked(who)
}

func (c *callCounter) decrementLocked(who client) {
	c.byClient[who]--
	if c.byClient[who] == 0 {
		delete(c.byClient, who)
	}
}
