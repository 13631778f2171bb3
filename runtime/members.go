package rpcmesh

import (
	"iter"
	"slices"

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
	table := n.table.snapshot.Load()
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
		ID: info.ID, Name: info.Info.GetName(), Version: info.Info.GetVersion(),
		Addresses: info.Info.GetAddresses(), Metadata: info.Info.GetMetadata(),
		Incarnation: info.Incarnation, Neighbours: make(map[string][]NodeID, len(info.Namespaces)),
	}
	for _, ns := range info.Namespaces {
		ids := make([]NodeID, len(ns.Neighbours))
		for i, nb := range ns.Neighbours {
			ids[i] = nb.ID
		}
		m.Neighbours[ns.Namespace] = ids
	}
	return m
}

// Hop is a node on the way of a call.
type Hop struct {
	Node NodeID
	// Name is the node's; that of a relay which is just leaving is no longer known: it is empty.
	Name string
}

// Route returns the nodes that a call of procedure passes as things stand now: this one first, the
// origin's last; of a function with several origins, the way to the nearest. Where this node is outside a
// group that the function is in, the last is the node that holds the group: it passes the call on. Route
// returns nil where the function cannot be called from here. It is for showing: each call finds its own
// way.
func (ns *Namespace) Route(procedure string) []Hop {
	table := ns.node.table.snapshot.Load()
	choice, ok := table.Find(ns.name, procedure)
	if !ok {
		return nil
	}
	target := choice.Targets[0]
	path := table.Path(target)
	names := map[NodeID]string{ns.node.identity.id: ns.node.identity.name, target.Node: target.Name}
	for m := range table.Members() {
		if slices.Contains(path, m.ID) {
			names[m.ID] = m.Info.GetName()
		}
	}
	route := make([]Hop, len(path))
	for i, id := range path {
		route[i] = Hop{Node: id, Name: names[id]}
	}
	return route
}
