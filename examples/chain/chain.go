package main

import (
	"context"
	"io"
	"strings"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
	"github.com/rpcmesh/rpcmesh/examples/internal/loopback"
	"github.com/rpcmesh/rpcmesh/gen/example/chain/v1/chainv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

const (
	namespace = "public"
	secret    = "not so secret: everyone can read this example"
)

// place is one node's place in the chain.
type place struct {
	name     string
	next     string // the node that it links to
	address  string // where it listens when it runs alone
	register func(rpcmesh.Registrar) (*rpcmesh.Origin, error)
}

// chain is A <- B <- C <- D, each node after the one that it links to.
var chain = []place{
	{name: "A", address: "127.0.0.1:8220", register: func(r rpcmesh.Registrar) (*rpcmesh.Origin, error) {
		return chainv1rpcmesh.RegisterAOrigin(r, serviceA{})
	}},
	{name: "B", next: "A", address: "127.0.0.1:8221", register: func(r rpcmesh.Registrar) (*rpcmesh.Origin, error) {
		return chainv1rpcmesh.RegisterBOrigin(r, serviceB{})
	}},
	{name: "C", next: "B", address: "127.0.0.1:8222", register: func(r rpcmesh.Registrar) (*rpcmesh.Origin, error) {
		return chainv1rpcmesh.RegisterCOrigin(r, serviceC{})
	}},
	{name: "D", next: "C", address: "127.0.0.1:8223"},
}

// start starts the node of one place, listening on addr and linked to the node at url, if there is one.
func start(p place, addr, url string) (*loopback.Node, error) {
	node, err := loopback.Start(rpcmesh.Config{Name: p.name, Secret: secret}, addr)
	if err != nil {
		return nil, err
	}
	if p.register != nil {
		_, err = p.register(node.Namespace(namespace))
	}
	if err == nil && url != "" {
		_, err = node.Link(url, namespace)
	}
	if err != nil {
		_ = node.Close() // always nil
		return nil, err
	}
	return node, nil
}

// run starts the whole chain, has every node call every function, and writes to w what comes of it.
func run(ctx context.Context, w io.Writer) error {
	a := account.New(w)
	a.Heading("A <- B <- C <- D: each node links to the one on its left.")
	var nodes []*loopback.Node
	defer func() {
		for _, node := range nodes {
			_ = node.Close() // always nil
		}
	}()
	url := ""
	for _, p := range chain {
		node, err := start(p, loopback.AnyPort, url)
		if err != nil {
			return err
		}
		nodes, url = append(nodes, node), node.URL
		a.Row(p.name+" listens at "+node.URL, linksTo(p), offers(node))
	}
	for _, node := range nodes {
		ns := node.Namespace(namespace)
		if err := ns.WaitFor(ctx, account.Procedures(calls)...); err != nil {
			return err
		}
		a.Heading("Calls from " + node.Name())
		if err := a.Calls(ctx, ns, calls); err != nil {
			return err
		}
	}
	a.Heading("An error keeps its code and its text, however far it comes")
	for _, node := range nodes {
		if err := a.Failure(ctx, node.Namespace(namespace), divideByZero); err != nil {
			return err
		}
	}
	return a.End()
}

func linksTo(p place) string {
	if p.next == "" {
		return "links to nobody"
	}
	return "links to " + p.next
}

// offers says which functions node itself has.
func offers(node *loopback.Node) string {
	var own []string
	for f := range node.Namespace(namespace).Functions() {
		if f.Origin == node.ID() {
			own = append(own, account.Short(f.Procedure))
		}
	}
	if own == nil {
		return "offers nothing, and calls"
	}
	return "offers " + strings.Join(own, ", ")
}
