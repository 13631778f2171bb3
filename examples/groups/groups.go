package main

import (
	"context"
	"fmt"

	"github.com/rpcmesh/rpcmesh/examples/internal/loopback"
	"github.com/rpcmesh/rpcmesh/gen/example/groups/v1/groupsv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

const secret = "not so secret: everyone can read this example"

// company is every node by its name.
type company map[string]*loopback.Node

// start starts all nodes and links them.
func start(ctx context.Context) (company, error) {
	nodes := company{}
	for _, name := range []string{"A", "B", "C", "D", "E", "F", "G", "H", "X"} {
		if err := nodes.add(name); err != nil {
			return nodes, err
		}
	}
	if _, err := nodes["A"].Group("all", []string{"public", "private", "open"}); err != nil {
		return nodes, err
	}
	for _, name := range []string{"A", "B", "C", "D", "F", "H", "X"} {
		if err := nodes.register(name); err != nil {
			return nodes, err
		}
	}
	for _, l := range []struct{ from, to, namespace string }{
		{"B", "A", "public"},
		{"C", "B", "public"},
		{"D", "A", "private"},
		{"E", "D", "private"},
		{"F", "E", "private"},
		{"A", "G", "open"},
		{"G", "H", "open"},
		{"X", "A", "all"},
	} {
		if err := nodes.link(ctx, l.from, l.to, l.namespace); err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

func (nodes company) add(name string) error {
	node, err := loopback.Start(rpcmesh.Config{Name: name, Secret: secret}, loopback.AnyPort)
	if err != nil {
		return err
	}
	nodes[name] = node
	return nil
}

// register registers what the named node offers.
func (nodes company) register(name string) (err error) {
	node := nodes[name]
	switch name {
	case "A":
		_, err = groupsv1rpcmesh.RegisterNoticesOrigin(node.Namespace("all"), notices{})
	case "B":
		_, err = groupsv1rpcmesh.RegisterWeatherOrigin(node.Namespace("public"), weather{})
	case "C":
		_, err = groupsv1rpcmesh.RegisterSearchOrigin(node.Namespace("public"), search{"public index", []string{"menu"}})
	case "D":
		_, err = groupsv1rpcmesh.RegisterSalariesOrigin(node.Namespace("private"), salaries{})
	case "F":
		_, err = groupsv1rpcmesh.RegisterSearchOrigin(node.Namespace("private"), search{"private index", []string{"menu", "recipe"}})
	case "H":
		_, err = groupsv1rpcmesh.RegisterForumOrigin(node.Namespace("open"), forum{})
	case "X":
		_, err = groupsv1rpcmesh.RegisterSurveyOrigin(node.Namespace("all"), survey{})
	}
	return err
}

// link links one node to another and waits until both know each other's functions.
func (nodes company) link(ctx context.Context, from, to, namespace string) error {
	// The dialled node has to be a member of the namespace, or it refuses the link.
	nodes[to].Namespace(namespace)
	link, err := nodes[from].Link(nodes[to].URL, namespace)
	if err == nil {
		err = link.Ready(ctx)
	}
	if err != nil {
		return fmt.Errorf("the link from %s to %s: %w", from, to, err)
	}
	return nil
}

func (nodes company) close() {
	for _, node := range nodes {
		_ = node.Close() // always nil
	}
}
