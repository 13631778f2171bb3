package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// tour calls round the ring, first with every link up, then with each of them cut in turn, and writes to
// w what comes of it.
func tour(ctx context.Context, w io.Writer, nodes []*node) error {
	for _, n := range nodes {
		if err := n.link.Ready(ctx); err != nil {
			return err
		}
	}
	if err := settle(ctx, nodes, direct); err != nil {
		return err
	}
	a := account.New(w)
	a.Heading("A, B and C in a ring")
	for i, n := range nodes {
		a.Row(n.name+" listens at "+n.URL, "links to "+n.next+" in "+n.namespace, "offers "+account.Short(calls[i].Procedure))
	}
	a.Heading("Every node calls the functions of both others")
	for i, n := range nodes {
		if err := a.Calls(ctx, n.ring, ofOthers(i)); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := cut(ctx, a, nodes, n); err != nil {
			return err
		}
	}
	return a.End()
}

// ofOthers returns the calls of the functions that node i does not offer.
func ofOthers(i int) []account.Call {
	return slices.Concat(calls[:i], calls[i+1:])
}

// cut cuts the link that n dials, calls all round the ring, and mends the link.
func cut(ctx context.Context, a *account.Account, nodes []*node, n *node) error {
	before := routes(nodes)
	n.cable.Cut()
	// Nobody waits for anything here: a call that meets the break finds the other way by itself.
	results := map[string]string{}
	for i, from := range nodes {
		for _, c := range ofOthers(i) {
			result, err := c.Do(ctx, from.ring)
			if err != nil {
				return fmt.Errorf("with the link from %s to %s cut, %s calls %s: %w", n.name, n.next, from.name, c.Text, err)
			}
			results[key(from, c)] = result
		}
	}
	cutOff := func(route []rpcmesh.Hop) bool { return !crosses(route, n.name, n.next) }
	if err := settle(ctx, nodes, cutOff); err != nil {
		return err
	}
	after := routes(nodes)
	a.Heading(fmt.Sprintf("The link from %s to %s is cut", n.name, n.next))
	a.Row("call", "before", "now", "result")
	for i, from := range nodes {
		for _, c := range ofOthers(i) {
			was, is := before[key(from, c)], after[key(from, c)]
			if is == was {
				is = "as before"
			}
			a.Row(c.Text, was, is, results[key(from, c)])
		}
	}
	n.cable.Mend()
	if err := n.link.Ready(ctx); err != nil {
		return err
	}
	return settle(ctx, nodes, direct)
}
