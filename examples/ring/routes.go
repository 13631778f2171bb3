package main

import (
	"context"
	"fmt"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// routes returns the routes of all calls as they are now.
func routes(nodes []*node) map[string]string {
	all := map[string]string{}
	for i, n := range nodes {
		for _, c := range ofOthers(i) {
			all[key(n, c)] = account.Route(n.ring, c.Procedure)
		}
	}
	return all
}

func key(from *node, c account.Call) string { return from.name + c.Procedure }

// settle waits until the routes of all calls are as ok wants them.
func settle(ctx context.Context, nodes []*node, ok func([]rpcmesh.Hop) bool) error {
	for i, n := range nodes {
		for range n.ring.Watch(ctx) {
			if settled(n.ring, ofOthers(i), ok) {
				break
			}
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s still waits for other routes: %w", n.name, err)
		}
	}
	return nil
}

func settled(ns *rpcmesh.Namespace, calls []account.Call, ok func([]rpcmesh.Hop) bool) bool {
	for _, c := range calls {
		if route := ns.Route(c.Procedure); route == nil || !ok(route) {
			return false
		}
	}
	return true
}

// direct tells that no node is between the route's ends.
func direct(route []rpcmesh.Hop) bool { return len(route) == 2 }

// crosses tells that the route leads over the link between two nodes.
func crosses(route []rpcmesh.Hop, one, other string) bool {
	for i := range len(route) - 1 {
		from, to := route[i].Name, route[i+1].Name
		if (from == one && to == other) || (from == other && to == one) {
			return true
		}
	}
	return false
}
