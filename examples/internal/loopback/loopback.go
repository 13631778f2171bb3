// Package loopback starts the examples' nodes, each on a listener of its own.
package loopback

import (
	"context"
	"fmt"
	"net"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// AnyPort is an address on a port that is free, which only this machine reaches.
const AnyPort = "127.0.0.1:0"

// Node is a node that is served on a listener.
type Node struct {
	*rpcmesh.Node
	URL string // what others link to

	served chan struct{}
}

// Start makes a node and serves it on addr. The caller closes it.
func Start(cfg rpcmesh.Config, addr string) (*Node, error) {
	node, err := rpcmesh.NewNode(cfg)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		_ = node.Close() // always nil
		return nil, fmt.Errorf("node %s: %w", cfg.Name, err)
	}
	n := &Node{Node: node, URL: "http://" + listener.Addr().String(), served: make(chan struct{})}
	go func() {
		defer close(n.served)
		_ = node.Serve(context.Background(), listener) // it ends when the node is closed
	}()
	return n, nil
}

// Close closes the node and waits until it is no longer served.
func (n *Node) Close() error {
	err := n.Node.Close()
	<-n.served
	return err
}
