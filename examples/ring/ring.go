package main

import (
	"github.com/rpcmesh/rpcmesh/examples/internal/loopback"
	"github.com/rpcmesh/rpcmesh/gen/example/ring/v1/ringv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

const secret = "not so secret: everyone can read this example"

// place is one node's place in the ring.
type place struct {
	name      string
	next      string // the node that it links to
	namespace string // what that link carries
	address   string // where it listens when it runs alone
	register  func(rpcmesh.Registrar) (*rpcmesh.Origin, error)
}

// places: B links to A and C to B, on the left; A links to C, on the right.
var places = []place{
	{name: "A", next: "C", namespace: "right", address: "127.0.0.1:8230", register: func(r rpcmesh.Registrar) (*rpcmesh.Origin, error) {
		return ringv1rpcmesh.RegisterArithmeticOrigin(r, arithmetic{})
	}},
	{name: "B", next: "A", namespace: "left", address: "127.0.0.1:8231", register: func(r rpcmesh.Registrar) (*rpcmesh.Origin, error) {
		return ringv1rpcmesh.RegisterTextOrigin(r, text{})
	}},
	{name: "C", next: "B", namespace: "left", address: "127.0.0.1:8232", register: func(r rpcmesh.Registrar) (*rpcmesh.Origin, error) {
		return ringv1rpcmesh.RegisterCalendarOrigin(r, calendar{})
	}},
}

// node is a node of the ring.
type node struct {
	*loopback.Node
	place
	ring  *rpcmesh.Namespace
	link  *rpcmesh.Link // to the next node
	cable cable         // which link runs over
}

// start starts the node of one place, with its functions on the group, so in both of its members.
func start(p place, addr string) (*node, error) {
	n := &node{place: p}
	var err error
	n.Node, err = loopback.Start(rpcmesh.Config{Name: p.name, Secret: secret, Dial: n.cable.dial}, addr)
	if err != nil {
		return nil, err
	}
	n.ring, err = n.Group("ring", []string{"left", "right"}, rpcmesh.Bridged())
	if err == nil {
		_, err = p.register(n.ring)
	}
	if err != nil {
		_ = n.Close() // always nil
		return nil, err
	}
	return n, nil
}

// linkTo links the node to the next one.
func (n *node) linkTo(url string) (err error) {
	n.link, err = n.Link(url, n.namespace)
	return err
}

// open lets callers from outside into the whole ring, on the node's own port. Anyone may call: only this
// machine reaches it.
func (n *node) open() error {
	return gateway.Mount(n.Node.Node, gateway.Config{Namespace: n.ring.Name(), Open: true})
}
