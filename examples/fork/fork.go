package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
	"github.com/rpcmesh/rpcmesh/examples/internal/loopback"
	"github.com/rpcmesh/rpcmesh/gen/example/fork/v1/forkv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

const (
	namespace = "shop"
	secret    = "not so secret: everyone can read this example"
)

// place is one node's place in the tree.
type place struct {
	name     string
	parent   string // the node that it links to
	what     string
	register func(*rpcmesh.Namespace) (*rpcmesh.Origin, error)
}

// tree has each node after the one that it links to.
var tree = []place{
	{name: "A", what: "the hub"},
	{name: "B", parent: "A", what: "the stock", register: func(ns *rpcmesh.Namespace) (*rpcmesh.Origin, error) {
		return forkv1rpcmesh.RegisterStockOrigin(ns, &stock{lamps: 1000})
	}},
	{name: "C", parent: "A", what: "the prices", register: func(ns *rpcmesh.Namespace) (*rpcmesh.Origin, error) {
		return forkv1rpcmesh.RegisterPricesOrigin(ns, prices{rates: forkv1rpcmesh.NewRatesClient(ns)})
	}},
	{name: "D", parent: "A", what: "the orders", register: func(ns *rpcmesh.Namespace) (*rpcmesh.Origin, error) {
		return forkv1rpcmesh.RegisterOrdersOrigin(ns, orders{
			stock: forkv1rpcmesh.NewStockClient(ns), prices: forkv1rpcmesh.NewPricesClient(ns),
		})
	}},
	{name: "E", parent: "C", what: "a link on the way to F"},
	{name: "F", parent: "E", what: "the rates", register: func(ns *rpcmesh.Namespace) (*rpcmesh.Origin, error) {
		return forkv1rpcmesh.RegisterRatesOrigin(ns, rates{})
	}},
	{name: "G", parent: "D", what: "the parcels", register: func(ns *rpcmesh.Namespace) (*rpcmesh.Origin, error) {
		return forkv1rpcmesh.RegisterParcelsOrigin(ns, parcels{})
	}},
	{name: "H", parent: "D", what: "a customer"},
}

// run starts the tree, has every node call every function, and writes to w what comes of it.
func run(ctx context.Context, w io.Writer) error {
	nodes := map[string]*loopback.Node{}
	defer func() {
		for _, node := range nodes {
			_ = node.Close() // always nil
		}
	}()
	a := account.New(w)
	a.Heading("A shop: each node links to the one after its arrow")
	for _, p := range tree {
		node, err := start(p, nodes)
		if err != nil {
			return err
		}
		nodes[p.name] = node
		if p.parent == "" {
			a.Row(p.name, p.what)
		} else {
			a.Row(p.name+" -> "+p.parent, p.what)
		}
	}
	if err := everyCall(ctx, a, nodes); err != nil {
		return err
	}
	if err := oneOrder(ctx, a, nodes); err != nil {
		return err
	}
	return a.End()
}

// start starts the node of one place and links it to its parent.
func start(p place, nodes map[string]*loopback.Node) (*loopback.Node, error) {
	node, err := loopback.Start(rpcmesh.Config{Name: p.name, Secret: secret}, loopback.AnyPort)
	if err != nil {
		return nil, err
	}
	ns := node.Namespace(namespace) // also where nothing is registered: a relay is a member too
	if p.register != nil {
		_, err = p.register(ns)
	}
	if err == nil && p.parent != "" {
		_, err = node.Link(nodes[p.parent].URL, namespace)
	}
	if err != nil {
		_ = node.Close() // always nil
		return nil, err
	}
	return node, nil
}

// everyCall has every node call every function and writes down how many links each call crossed.
func everyCall(ctx context.Context, a *account.Account, nodes map[string]*loopback.Node) error {
	procedures := account.Procedures(calls)
	head := []string{"from"}
	for _, p := range procedures {
		head = append(head, account.Short(p))
	}
	for _, node := range nodes {
		if err := node.Namespace(namespace).WaitFor(ctx, procedures...); err != nil {
			return err
		}
	}
	a.Heading("Every node calls every function: how many links each call crosses")
	a.Row(head...)
	for _, p := range tree {
		ns := nodes[p.name].Namespace(namespace)
		row := []string{p.name}
		for _, c := range calls {
			if _, err := c.Do(ctx, ns); err != nil {
				return fmt.Errorf("%s calls %s: %w", p.name, c.Text, err)
			}
			row = append(row, strconv.Itoa(len(ns.Route(c.Procedure))-1))
		}
		a.Row(row...)
	}
	return nil
}

// oneOrder follows a customer's order from handler to handler.
func oneOrder(ctx context.Context, a *account.Account, nodes map[string]*loopback.Node) error {
	a.Heading("H orders")
	customer := nodes["H"].Namespace(namespace)
	if err := a.Calls(ctx, customer, []account.Call{order(3, "NOK")}); err != nil {
		return err
	}
	for _, step := range []struct{ node, procedure string }{
		{"D", forkv1rpcmesh.PricesQuoteProcedure},
		{"C", forkv1rpcmesh.RatesConvertProcedure},
		{"D", forkv1rpcmesh.StockReserveProcedure},
	} {
		route := account.Route(nodes[step.node].Namespace(namespace), step.procedure)
		a.Row("for which "+step.node+" calls "+account.Short(step.procedure), route)
	}
	if err := a.Failure(ctx, customer, order(5000, "NOK")); err != nil {
		return err
	}
	a.Heading("F follows a parcel, right across the tree")
	return a.Calls(ctx, nodes["F"].Namespace(namespace), calls[len(calls)-1:])
}
