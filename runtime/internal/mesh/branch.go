package mesh

import "github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"

// A branch is what of a domain hangs together without this node. A call that comes in over a link comes from
// the branch of the link's other end, whatever is said of it.

// findBranches finds the branches of the sites, by lead: each is known by one of its own.
func (d *domain) findBranches() {
	of := make([]int32, len(d.records))
	for i := range of {
		of[i] = int32(i)
	}
	find := func(i int32) int32 {
		for of[i] != i {
			of[i] = of[of[i]] // the way is half as long for the next one
			i = of[i]
		}
		return i
	}
	own := int32(none)
	if len(d.ownRecords) > 0 {
		own = d.ownRecords[0].path.lead
	}
	for _, r := range d.records {
		if r == nil {
			continue
		}
		of[find(r.idx)] = find(r.path.lead)
		for _, e := range r.path.edges {
			if r.path.lead != own && e.to.path.lead != own {
				of[find(e.to.path.lead)] = find(r.path.lead)
			}
		}
	}
	for i := range of {
		of[i] = find(int32(i))
	}
	d.branches = of
}

// Behind reports whether calls of a node can come in over a link that carries namespace and whose other end is
// peer, as far as is known, and by what name the node is known, if it is. Of this node's own it is certain that they
// cannot; of a node that is not seen in the namespace, or those that are bridged to it here, nothing is: one that
// holds a group may pass on its calls. It does not allocate.
func (s *Snapshot) Behind(namespace string, peer, node nodeid.ID) (name string, can bool) {
	v := s.domain(namespace)
	switch {
	case node == s.self:
		return s.name, false
	case v == nil:
		return "", true
	}
	from, ok := v.vertices[vertex{peer, namespace}]
	ok = ok && v.reached[from]
	for _, ns := range v.names {
		i, seen := v.vertices[vertex{node, ns}]
		if !seen || !v.reached[i] {
			continue
		}
		name = v.routes[i].view.name
		if node == peer || ok && v.branches[i] == v.branches[from] {
			return name, true
		}
	}
	return name, name == ""
}
