package gateway

import (
	"crypto/sha256"
	"net/netip"
	"sync"

	"connectrpc.com/connect/v2"
)

// client is whose calls are counted together: those with one token, or without a token those from one address. It
// is comparable.
type client struct {
	token [sha256.Size]byte // its hash
	addr  netip.Addr
}

// clientAt returns the client at an address of the network, "host:port", who has no token. Hosts of one IPv6 network
// of 64 bits are one client: whoever has one address there has all.
func clientAt(address string) client {
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

// clientWith returns the client that has a token, of which there is the hash.
func clientWith(hash [sha256.Size]byte) client { return client{token: hash} }

// calls counts those under way, in all and of each client. It may be used concurrently.
type calls struct {
	most, mostOfOne int

	mu  sync.Mutex
	all int
	of  map[client]int
}

func newCalls(most, mostOfOne int) *calls {
	return &calls{most: most, mostOfOne: mostOfOne, of: map[client]int{}}
}

// begin counts one more call of a client, until end, or says why there may be none.
func (c *calls) begin(who client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= c.most:
		return connect.Errorf(connect.CodeResourceExhausted, "the gateway has %d calls under way, as many as its Config.MaxCalls allows: try again later", c.most)
	case c.of[who] >= c.mostOfOne:
		return c.tooMany(who)
	}
	c.all++
	c.of[who]++
	return nil
}

func (c *calls) tooMany(who client) error {
	whose := "with this token"
	if who.token == [sha256.Size]byte{} {
		whose = "from this address"
	}
	return connect.Errorf(connect.CodeResourceExhausted,
		"%d calls %s are under way, and the gateway takes no more of one caller, by its Config.MaxCallsPerCaller: wait for some to end", c.mostOfOne, whose)
}

// pass makes a call one of another client, or says why it may be none.
func (c *calls) pass(from, to client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if from == to {
		return nil
	}
	if c.of[to] >= c.mostOfOne {
		return c.tooMany(to)
	}
	c.lessLocked(from)
	c.of[to]++
	return nil
}

func (c *calls) end(who client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	c.lessLocked(who)
}

func (c *calls) lessLocked(who client) {
	c.of[who]--
	if c.of[who] == 0 {
		delete(c.of, who)
	}
}
