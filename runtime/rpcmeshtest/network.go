package rpcmeshtest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultBuffer is how many bytes each direction of a connection holds before writing to it blocks.
const DefaultBuffer = 256 << 10

// backlog is how many connections wait at a listener to be accepted; more are refused.
const backlog = 128

// Network is a network in memory, of hosts known by name. Its connections behave as TCP's do. Faults
// are made and ended by its methods. All of them may be called concurrently.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	faults    map[path]fault
	refusing  map[string]bool
	delays    map[path]time.Duration
	conns     map[*connection]struct{} // those that an end still holds
	changed   chan struct{}            // closed, and replaced, at each change of the above
	buffer    int
	lastPort  int
}

// path is two hosts, in alphabetical order.
type path struct{ a, b string }

func pathOf(a, b string) path { return path{min(a, b), max(a, b)} }

type fault uint8

const (
	none fault = iota
	cut
	silent
)

// NewNetwork returns a network without faults.
func NewNetwork() *Network {
	return &Network{
		listeners: map[string]*listener{},
		faults:    map[path]fault{},
		refusing:  map[string]bool{},
		delays:    map[path]time.Duration{},
		conns:     map[*connection]struct{}{},
		changed:   make(chan struct{}),
		buffer:    DefaultBuffer,
	}
}

// SetBuffer sets how many bytes each direction of a connection holds that is dialled from now on.
func (n *Network) SetBuffer(bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.buffer = max(bytes, 1)
}

// Listen returns a listener for connections to host, on any port. A host has one listener at a time.
func (n *Network) Listen(host string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[host] != nil {
		return nil, &net.OpError{Op: "listen", Net: addr(host).Network(), Addr: addr(host), Err: syscall.EADDRINUSE}
	}
	l := &listener{network: n, host: host, queue: make(chan net.Conn, backlog), done: make(chan struct{})}
	n.listeners[host] = l
	n.notifyLocked()
	return l, nil
}

// Dialer returns what dials from host: a function for [rpcmesh.Config].Dial and
// [rpcmesh.ProxyConfig].Dial. The port of the address that it is given does not matter.
func (n *Network) Dialer(host string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		to, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		for {
			conn, changed, err := n.connect(host, to)
			if conn != nil || err != nil {
				return conn, err
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, &net.OpError{Op: "dial", Net: addr(to).Network(), Addr: addr(to), Err: context.Cause(ctx)}
			}
		}
	}
}

// connect makes a connection. Where the path is silent it returns none, and what to wait for.
func (n *Network) connect(from, to string) (net.Conn, <-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: addr(to).Network(), Addr: addr(to), Err: syscall.ECONNREFUSED}
	switch n.faults[pathOf(from, to)] {
	case silent:
		return nil, n.changed, nil
	case cut:
		return nil, nil, refused
	case none:
	}
	l := n.listeners[to]
	if l == nil || n.refusing[from] || n.refusing[to] {
		return nil, nil, refused
	}
	n.lastPort++
	dialler, accepted := n.newConnection(fmt.Sprintf("%s:%d", from, n.lastPort), to+":0")
	select {
	case l.queue <- accepted:
		return dialler, nil, nil
	default:
		delete(n.conns, dialler.conn)
		return nil, nil, refused
	}
}

func (n *Network) newConnection(from, to string) (dialler, accepted *end) {
	c := newConnection(n.buffer, n.forget)
	n.conns[c] = struct{}{}
	dialler = &end{conn: c, local: addr(from), remote: addr(to), in: &c.streams[0], out: &c.streams[1]}
	accepted = &end{conn: c, local: addr(to), remote: addr(from), in: &c.streams[1], out: &c.streams[0]}
	c.ends = [2]*end{dialler, accepted}
	c.delay = n.delays[c.path()]
	return dialler, accepted
}

func (n *Network) forget(c *connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
	n.notifyLocked()
}

// notifyLocked wakes those who wait for a change.
func (n *Network) notifyLocked() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// Reset breaks every connection between a and b, as a TCP reset does. New ones can be made at once.
func (n *Network) Reset(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resetMatchingLocked(func(p path) bool { return p == pathOf(a, b) })
}

// ResetAll breaks every connection of host, as the death of a process does. New ones can be made at
// once.
func (n *Network) ResetAll(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resetMatchingLocked(func(p path) bool { return p.a == host || p.b == host })
}

// Cut breaks every connection between a and b, as a TCP reset does, and refuses new ones until Heal.
func (n *Network) Cut(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setFaultLocked(pathOf(a, b), cut)
	n.resetMatchingLocked(func(p path) bool { return p == pathOf(a, b) })
}

// Silence makes the path between a and b a black hole until Heal: nothing that either sends arrives,
// dialling gets no answer, and neither is told, not even of a reset. What was sent meanwhile arrives
// after Heal, as TCP sends it again.
func (n *Network) Silence(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setFaultLocked(pathOf(a, b), silent)
}

// Delay makes all that a and b send each other from now on arrive so much later: on each connection in the
// order in which it was sent, and its end too. Connections are made and reset at once all the same. What is
// under way takes room in the buffer.
func (n *Network) Delay(a, b string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := pathOf(a, b)
	n.delays[p] = d
	for c := range n.conns {
		if c.path() == p {
			c.setDelay(d)
		}
	}
}

// Refuse refuses new connections to and from host, until Admit. Those that are open stay.
func (n *Network) Refuse(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refusing[host] = true
}

// Admit ends what Refuse did.
func (n *Network) Admit(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.refusing, host)
}

// Heal ends what Cut or Silence did to the path between a and b.
func (n *Network) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setFaultLocked(pathOf(a, b), none)
}

// HealAll ends every fault.
func (n *Network) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.refusing)
	for p := range n.faults {
		n.setFaultLocked(p, none)
	}
}

// setFaultLocked sets the fault of a path and of its connections.
func (n *Network) setFaultLocked(p path, f fault) {
	if f == none {
		delete(n.faults, p)
	} else {
		n.faults[p] = f
	}
	for c := range n.conns {
		if c.path() == p {
			c.setHeld(f == silent)
		}
	}
	n.notifyLocked()
}

// resetMatchingLocked breaks the connections on the paths that match.
func (n *Network) resetMatchingLocked(match func(path) bool) {
	for c := range n.conns {
		if match(c.path()) {
			c.reset()
		}
	}
}

// leftOpen waits until both ends of every connection are closed, for at most timeout, and returns those that are not.
func (n *Network) leftOpen(timeout time.Duration) []string {
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	for {
		n.mu.Lock()
		changed := n.changed
		var open []string
		for c := range n.conns {
			open = append(open, c.openEnds()...)
		}
		n.mu.Unlock()
		if len(open) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-limit.C:
			slices.Sort(open)
			return open
		}
	}
}

// addr is "host:port", or a host.
type addr string

func (addr) Network() string { return "memory" }

func (a addr) String() string { return string(a) }

func (a addr) host() string {
	host, _, _ := strings.Cut(string(a), ":")
	return host
}

// listener is what Listen returns.
type listener struct {
	network *Network
	host    string
	queue   chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (l *listener) Addr() net.Addr { return addr(l.host) }

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.queue:
		return conn, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close also breaks the connections that were not accepted yet.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, l.host)
		l.network.notifyLocked()
		l.network.mu.Unlock()
		close(l.done)
		for {
			select {
			case conn := <-l.queue:
				_ = conn.Close() // always nil
			default:
				return
			}
		}
	})
	return nil
}
