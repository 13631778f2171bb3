package rpcmeshtest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// Secret is what the nodes of a [Cluster] prove to each other, unless a test sets another.
const Secret = "rpcmeshtest"

// waitTimeout bounds the waits of a Cluster that end at once when all is well.
const waitTimeout = 10 * time.Second

// Cluster is a set of nodes on a [Network] of their own, one to a host of the node's name. Its methods
// that may fail the test are to be called from the test's goroutine; those of its Network from any.
type Cluster struct {
	*Network
	tb testing.TB

	mu      sync.Mutex
	members map[string]*member
	names   []string // in order of appearance
	proxies []*rpcmesh.Proxy
}

// member is one name in a cluster, whether or not its node runs.
type member struct {
	config rpcmesh.Config
	setups []func(*rpcmesh.Node)
	node   *rpcmesh.Node // nil while stopped
	served chan struct{} // closed when its Serve has returned
}

// New returns a cluster without nodes. It is closed at the end of the test, which fails if anything is
// left open then.
func New(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{Network: NewNetwork(), tb: tb, members: map[string]*member{}}
	tb.Cleanup(c.close)
	return c
}

// URL returns what other nodes link to the node called name by.
func URL(name string) string { return "http://" + name }

// Node returns the node called name. At its first mention it is made, with what configure changes of
// its configuration, and listens. Name, Secret, Dial and Logger are set already; the log goes to the
// test's.
func (c *Cluster) Node(name string, configure ...func(*rpcmesh.Config)) *rpcmesh.Node {
	c.tb.Helper()
	c.mu.Lock()
	m := c.members[name]
	c.mu.Unlock()
	switch {
	case m == nil:
		return c.add(name, configure)
	case len(configure) > 0:
		c.tb.Fatalf("rpcmeshtest: node %q is there already: it is configured at its first mention", name)
	case m.node == nil:
		c.tb.Fatalf("rpcmeshtest: node %q is stopped: start it first", name)
	}
	return m.node
}

func (c *Cluster) add(name string, configure []func(*rpcmesh.Config)) *rpcmesh.Node {
	c.tb.Helper()
	m := &member{config: rpcmesh.Config{
		Name: name, Secret: Secret, Dial: c.Dialer(name), Logger: logger(c.tb),
	}}
	for _, f := range configure {
		f(&m.config)
	}
	c.mu.Lock()
	c.members[name] = m
	c.names = append(c.names, name)
	c.mu.Unlock()
	return c.Start(name)
}

// Setup runs setup on the node called name, now and after each Start, so that a restarted node offers
// again what it did.
func (c *Cluster) Setup(name string, setup func(*rpcmesh.Node)) {
	c.tb.Helper()
	node := c.Node(name)
	c.mu.Lock()
	m := c.members[name]
	m.setups = append(m.setups, setup)
	c.mu.Unlock()
	setup(node)
}

// Link links the node called from to the one called to and waits until the link is ready. Both become
// members of namespaces; none stands for the default one. Restarted, either does the same again.
func (c *Cluster) Link(from, to string, namespaces ...string) *rpcmesh.Link {
	c.tb.Helper()
	c.Setup(to, func(n *rpcmesh.Node) {
		for _, ns := range namespaces {
			n.Namespace(ns)
		}
	})
	var link *rpcmesh.Link
	c.Setup(from, func(n *rpcmesh.Node) {
		l, err := n.Link(URL(to), namespaces...)
		if err != nil {
			c.tb.Errorf("rpcmeshtest: link from %q to %q: %v", from, to, err)
			return
		}
		link = l
	})
	if link == nil {
		c.tb.FailNow()
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	if err := link.Ready(ctx); err != nil {
		c.tb.Fatalf("rpcmeshtest: link from %q to %q: %v", from, to, err)
	}
	return link
}

// Proxy dials the node called to from a host called name and returns the proxy, which the cluster
// closes. Secret, Dial and Logger are set already.
func (c *Cluster) Proxy(name, to, namespace string, configure ...func(*rpcmesh.ProxyConfig)) *rpcmesh.Proxy {
	c.tb.Helper()
	cfg := rpcmesh.ProxyConfig{
		Namespace: namespace, Secret: Secret, Dial: c.Dialer(name), Logger: logger(c.tb).With("proxy", name),
	}
	for _, f := range configure {
		f(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	p, err := rpcmesh.Dial(ctx, URL(to), cfg)
	if err != nil {
		c.tb.Fatalf("rpcmeshtest: proxy %q to %q: %v", name, to, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proxies = append(c.proxies, p)
	return p
}

// Start makes a stopped node again, of the same configuration and with the same setup. Its links may
// not be up yet when it returns.
func (c *Cluster) Start(name string) *rpcmesh.Node {
	c.tb.Helper()
	c.mu.Lock()
	m := c.members[name]
	c.mu.Unlock()
	if m == nil || m.node != nil {
		c.tb.Fatalf("rpcmeshtest: node %q is not stopped", name)
	}
	node, err := rpcmesh.NewNode(m.config)
	if err != nil {
		c.tb.Fatalf("rpcmeshtest: node %q: %v", name, err)
	}
	listener, err := c.Listen(name)
	if err != nil {
		_ = node.Close() // always nil
		c.tb.Fatalf("rpcmeshtest: node %q: %v", name, err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c.serve(name, node, listener)
	}()
	c.mu.Lock()
	m.node, m.served = node, served
	setups := slices.Clone(m.setups)
	c.mu.Unlock()
	for _, setup := range setups {
		setup(node)
	}
	return node
}

func (c *Cluster) serve(name string, node *rpcmesh.Node, l net.Listener) {
	err := node.Serve(context.Background(), l)
	if err != nil && connect.CodeOf(err) != connect.CodeFailedPrecondition { // closed before it could serve
		c.tb.Errorf("rpcmeshtest: node %q: Serve: %v", name, err)
	}
}

// Stop closes the node called name, which says goodbye to the others.
func (c *Cluster) Stop(name string) {
	c.tb.Helper()
	node := c.Node(name)
	c.mu.Lock()
	m := c.members[name]
	served := m.served
	m.node, m.served = nil, nil
	c.mu.Unlock()
	_ = node.Close() // always nil
	<-served
}

// Kill ends the node called name as the death of its process does: its connections are reset, and it
// says goodbye to no one.
func (c *Cluster) Kill(name string) {
	c.tb.Helper()
	c.Refuse(name)
	defer c.Admit(name)
	c.ResetAll(name)
	c.Stop(name)
}

// Restart stops the node called name and starts it again.
func (c *Cluster) Restart(name string) *rpcmesh.Node {
	c.tb.Helper()
	c.Stop(name)
	return c.Start(name)
}

func (c *Cluster) close() {
	c.mu.Lock()
	proxies := c.proxies
	c.mu.Unlock()
	c.HealAll()
	for _, p := range proxies {
		_ = p.Close() // always nil
	}
	for _, name := range slices.Backward(c.names) {
		if c.members[name].node != nil {
			c.Stop(name)
		}
	}
	for _, what := range c.leftOpen(waitTimeout) {
		c.tb.Error("rpcmeshtest: a connection was left open: " + what)
	}
}

// String lists the nodes, for messages of tests.
func (c *Cluster) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("cluster of %v", c.names)
}
