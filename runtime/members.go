package rpcmesh

import (
	"fmt"
	"iter"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// Member is a node that can be reached in a namespace that this node shares, this one included.
type Member struct {
	ID   NodeID
	Name string
	// Version is the rpcmesh release that it runs.
	Version string
	// Addresses and Metadata are what its [Config] tells. They are shared: do not change them.
	Addresses []string
	Metadata  map[string]string
	// Incarnation is later for each start of the same node.
	Incarnation uint64
	// Neighbours are the nodes that it has links to, by namespace, in the namespaces that this node
	// shares.
	Neighbours map[string][]NodeID
}

// Members yields the members as they are when it is called, this node among them, sorted by id.
func (n *Node) Members() iter.Seq[Member] {
	table := n.table.Load()
	return func(yield func(Member) bool) {
		for info := range table.Members() {
			if !yield(memberOf(info)) {
				return
			}
		}
	}
}

func memberOf(info mesh.MemberInfo) Member {
	m := Member{
		ID: NodeID(info.ID), Name: info.Info.GetName(), Version: info.Info.GetVersion(),
		Addresses: info.Info.GetAddresses(), Metadata: info.Info.GetMetadata(),
		Incarnation: info.Incarnation, Neighbours: make(map[string][]NodeID, len(info.Namespaces)),
	}
	for _, ns := range info.Namespaces {
		ids := make([]NodeID, len(ns.Neighbours))
		for i, nb := range ns.Neighbours {
			ids[i] = NodeID(nb.ID)
		}
		m.Neighbours[ns.Namespace] = ids
	}
	return m
}

// absence says in words what table knows of a function that it has no way to.
func absence(table *mesh.Snapshot, namespace, procedure string) string {
	a := table.Absent(namespace, procedure)
	if !a.Seen {
		return fmt.Sprintf("no node that can be reached in namespace %q has registered %s, nor has one lately", namespace, procedure)
	}
	return fmt.Sprintf("%s of node %q was withdrawn from namespace %q at %s: %s",
		procedure, a.Name, namespace, a.Withdrawn.UTC().Format(time.RFC3339Nano), a.Cause)
}
