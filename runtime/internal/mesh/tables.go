package mesh

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// FunctionInfo is an origin of a function within reach.
type FunctionInfo struct {
	Function *Function
	// Registered is when the origin was registered, in nanoseconds since 1970 by its node's clock; of one
	// that stands behind another, by that one's.
	Registered int64
	Namespace  string    // where it is held
	Node       nodeid.ID // the origin's
	Name       string    // the node's, or Via's where only that is known
	Via        nodeid.ID // the member that passes calls on to Node, where that is not itself one; else Node
	Shadowed   bool      // another origin serves
	// Incompatible: the other replicas serve without it, since its schema does not fit that of the first.
	Incompatible bool
	Local        bool
	Hops         int // to Via
}

// Functions returns the origins within reach of a namespace or group of this node, sorted by
// procedure, the serving ones first.
func (s *Snapshot) Functions(ns string) iter.Seq[FunctionInfo] {
	return func(yield func(FunctionInfo) bool) {
		p := s.places[ns]
		if p == nil {
			return
		}
		for _, procedure := range s.procedures(p) {
			for _, f := range s.origins(p, procedure) {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// procedures returns those that are known in a place, callable or not, sorted.
func (s *Snapshot) procedures(p *place) []string {
	procedures := map[string]bool{}
	for _, i := range p.members {
		for it := range s.views[i].functions.all {
			procedures[it.fn.Procedure] = true
		}
	}
	return slices.Sorted(maps.Keys(procedures))
}

// origins returns those of one procedure, each once.
func (s *Snapshot) origins(p *place, procedure string) (origins []FunctionInfo) {
	seen := map[registration]bool{}
	found := false
	for _, i := range p.members {
		v := s.views[i]
		serving, _ := v.pick(procedure, inNamespace, nil)
		if serving == nil {
			continue
		}
		for _, it := range v.items(procedure) {
			o := v.registration(it)
			if !v.serves(it, inNamespace, nil) || seen[o] || o == v.registration(serving) && it != serving {
				continue
			}
			seen[o] = true
			t := v.routes[it.rec].targets[0]
			f := FunctionInfo{
				Function: &it.fn, Registered: v.registered(it), Namespace: t.Namespace, Node: o.node, Name: t.Name, Via: t.Node,
				Shadowed: found || v.isShadowed(serving, it), Incompatible: v.isIncompatible(serving, it),
				Local: t.Local && it.derivation() == 0, Hops: t.Hops,
			}
			origins = append(origins, f)
		}
		found = true
	}
	slices.SortStableFunc(origins, func(a, b FunctionInfo) int {
		return boolCompare(a.Shadowed || a.Incompatible, b.Shadowed || b.Incompatible)
	})
	return origins
}

// items returns all of a procedure.
func (v *view) items(procedure string) []*item {
	switch it := v.functions.get(procedure); {
	case it == nil:
		return nil
	case it.kind == kindCandidates:
		return it.extra.candidates.items
	default:
		return []*item{it}
	}
}

// MemberInfo is a node within reach, this one included.
type MemberInfo struct {
	ID          nodeid.ID
	Incarnation uint64
	Info        *linkv1.NodeInfo // not to be changed
	Namespaces  []Membership     // those seen from here, sorted
}

// Membership is a node's place in one namespace.
type Membership struct {
	Namespace  string
	Neighbours []Neighbour // sorted by id
}

// Neighbour is one end of a link as the other end lists it.
type Neighbour struct {
	ID   nodeid.ID
	Cost uint32
}

// Members returns the nodes within reach that are not about to leave, sorted by id.
func (s *Snapshot) Members() iter.Seq[MemberInfo] {
	return func(yield func(MemberInfo) bool) {
		members := map[nodeid.ID]*MemberInfo{}
		for _, v := range s.views {
			for i, r := range v.routes {
				if v.reached[i] && !r.view.leaving {
					r.view.addTo(members)
				}
			}
		}
		for _, id := range slices.SortedFunc(maps.Keys(members), nodeid.ID.Compare) {
			m := members[id]
			slices.SortFunc(m.Namespaces, func(a, b Membership) int { return cmp.Compare(a.Namespace, b.Namespace) })
			m.Namespaces = slices.CompactFunc(m.Namespaces, func(a, b Membership) bool { return a.Namespace == b.Namespace })
			if !yield(*m) {
				return
			}
		}
	}
}

func (s *memberView) addTo(members map[nodeid.ID]*MemberInfo) {
	m := members[s.node]
	if m == nil {
		m = &MemberInfo{ID: s.node, Incarnation: s.inc, Info: s.ext.info}
		members[s.node] = m
	}
	if m.Info == nil {
		m.Info = s.ext.info
	}
	m.Namespaces = append(m.Namespaces, Membership{Namespace: s.ns, Neighbours: s.neighbours})
}

// Absence says why a procedure cannot be called.
type Absence struct {
	Seen      bool      // it could be called once; else it was never seen here, or too long ago
	Withdrawn time.Time // when it went
	Node      nodeid.ID // its last origin
	Name      string    // the node's
	Cause     string    // for people: which link fell, which node left, who withdrew it
}

// Absent explains why Find did not find a procedure.
func (s *Snapshot) Absent(ns, procedure string) (last Absence) {
	p := s.places[ns]
	if p == nil {
		return last
	}
	for _, i := range p.members {
		v := s.views[i]
		for _, it := range v.items(procedure) {
			if a := v.absence(it); a.Seen && (!last.Seen || a.Withdrawn.After(last.Withdrawn)) {
				last = a
			}
		}
	}
	return last
}

// absence says why an item does not serve.
func (v *view) absence(it *item) Absence {
	r := v.routes[it.rec]
	a := Absence{Node: r.view.node, Name: r.view.name}
	switch {
	case it.removed:
		a.Seen, a.Withdrawn, a.Cause = true, it.extra.at, it.extra.cause
		switch {
		case a.Cause != "":
		case it.derivation() != 0:
			a.Cause = a.Name + " no longer passes it on"
		default:
			a.Cause = a.Name + " withdrew it"
		}
	case !v.reached[it.rec] && r.lost != nil && r.lost.cause != "":
		a.Seen, a.Withdrawn, a.Cause = true, r.lost.at, r.lost.cause
	}
	return a
}

// Withdrawn returns the procedures that could be called in a namespace or group once and cannot now, sorted,
// and why not, as long as they are remembered.
func (s *Snapshot) Withdrawn(ns string) iter.Seq2[string, Absence] {
	return func(yield func(string, Absence) bool) {
		p := s.places[ns]
		if p == nil {
			return
		}
		for _, procedure := range s.procedures(p) {
			if _, found := s.Find(ns, procedure); found {
				continue
			}
			if a := s.Absent(ns, procedure); a.Seen && !yield(procedure, a) {
				return
			}
		}
	}
}
