package mesh

import (
	"slices"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// Snapshot is what a core knew at one moment. It never changes; any number of goroutines may use it.
type Snapshot struct {
	self   nodeid.ID
	name   string
	places map[string]*place
	views  []*view
}

// place is where a name leads, by the index of views.
type place struct {
	members []int // a namespace itself, or the members of a group
	domain  int   // what links of that name carry; none: nothing
}

// Target is an origin as a call gets there.
type Target struct {
	Node          nodeid.ID // goes into Open.origin
	Name          string    // the node's
	Namespace     string    // where the node holds it; goes into Open.origin_namespace
	Local         bool      // it is here; the fields below are zero
	Link          LinkID
	LinkNamespace string // the domain to call it in over Link; goes into Open.namespace
	Hops          int    // links on the path
}

// Choice is what a procedure resolves to.
type Choice struct {
	Function   *Function // of the first origin
	Registered int64     // as of FunctionInfo
	Policy     Policy
	Targets    []Target // exactly one for Single, else all within reach, nearest first; not to be changed
}

// Snapshot returns what is known now. It is the same as before if nothing changed.
func (c *Core) Snapshot() *Snapshot {
	c.recompute()
	c.oweAcks()
	fresh := c.snapshot == nil || c.namespacesChanged
	for _, d := range c.domains {
		if d.functionsChanged || d.view == nil {
			fresh = true
			d.view = d.freeze()
		}
	}
	if !fresh {
		return c.snapshot
	}
	s := &Snapshot{self: c.cfg.ID, name: c.cfg.Info.GetName(), views: make([]*view, len(c.domains))}
	for i, d := range c.domains {
		s.views[i] = d.view
	}
	if c.namespacesChanged || c.snapshot == nil {
		s.places = c.places()
		c.namespacesChanged = false
	} else {
		s.places = c.snapshot.places
	}
	c.snapshot = s
	return s
}

// freeze returns the view of a domain as it is, for good.
func (d *domain) freeze() *view {
	v := d.current()
	v.functions = d.functions.freeze()
	d.functionsChanged = false
	return &v
}

// current returns the view of a domain until it changes.
func (d *domain) current() view {
	d.rebuildDirty()
	return view{names: d.namespaces, functions: d.functions, routes: d.routes, reached: d.reached, branches: d.branches, vertices: d.vertices, sets: d.sets.targets}
}

func (c *Core) places() map[string]*place {
	places := make(map[string]*place, len(c.namespaces))
	at := func(s *namespace) int { return slices.Index(c.domains, s.domain) }
	for _, s := range c.declared {
		p := &place{domain: none}
		if s.domain != nil {
			p.domain = at(s)
		}
		for _, m := range c.members(s.name) {
			p.members = append(p.members, at(m))
		}
		places[s.name] = p
	}
	return places
}

// Find resolves a procedure in a namespace or group of this node. It does not allocate.
func (s *Snapshot) Find(ns, procedure string) (Choice, bool) {
	r, ok := s.resolveIn(ns, procedure, forCalls)
	if !ok {
		return Choice{}, false
	}
	return r.choice(), true
}

// Lead resolves a procedure as Find does, but to the origin that leads: the one that was registered first,
// whose schema counts. It does not allocate.
func (s *Snapshot) Lead(ns, procedure string) (*Function, Target, bool) {
	r, ok := s.resolveIn(ns, procedure, toLead)
	if !ok {
		return nil, Target{}, false
	}
	f, t := r.lead()
	return f, t, true
}

// purpose is what a procedure is resolved for.
type purpose uint8

const (
	forCalls purpose = iota // among all origins that may serve
	toLead                  // the origin that leads
)

// resolved is the item that a procedure leads to, in the view where it is not derived by a group of this node.
type resolved struct {
	view  *view
	item  *item
	among *candidates
	scope scope
}

func (r *resolved) choice() Choice {
	it := r.item
	return Choice{&it.fn, r.view.registered(it), it.fn.Policy, r.view.targets(it, r.among, r.scope)}
}

func (r *resolved) lead() (*Function, Target) {
	return &r.item.fn, r.view.routes[r.item.rec].targets[0]
}

// resolveIn resolves a procedure in a namespace or in the first member of a group that has it.
func (s *Snapshot) resolveIn(ns, procedure string, p purpose) (resolved, bool) {
	pl := s.places[ns]
	if pl == nil {
		return resolved{}, false
	}
	for _, i := range pl.members {
		if r, ok := s.resolve(s.views[i], procedure, inNamespace, nil, p); ok {
			return r, true
		}
	}
	return resolved{}, false
}

// resolve resolves a procedure in a domain.
func (s *Snapshot) resolve(v *view, procedure string, sc scope, into *view, p purpose) (resolved, bool) {
	it, many := v.pick(procedure, sc, into)
	switch {
	case it == nil:
		return resolved{}, false
	case it.more().group == nil || p == forCalls && len(v.replicas(it, many, sc)) > 0: // the domain's own come first
		return resolved{v, it, many, sc}, true
	default:
		return s.resolveDerived(it, p)
	}
}

// resolveDerived resolves a procedure that is derived here, where it is derived from.
func (s *Snapshot) resolveDerived(it *item, p purpose) (resolved, bool) {
	pl := s.places[it.extra.group.namespace.name]
	domain := s.views[pl.domain]
	if it.derivation() == down {
		return s.resolve(domain, it.fn.Procedure, fromGroup, nil, p)
	}
	for _, i := range pl.members {
		if r, ok := s.resolve(s.views[i], it.fn.Procedure, towardGroup, domain, p); ok {
			return r, true
		}
	}
	return resolved{}, false
}

// Action is what is to be done with a call that came in over a link.
type Action uint8

// The actions.
const (
	None    Action = iota // there is no way to the origin
	Local                 // serve it from Decision.Namespace of this node
	Forward               // send it on
)

// Decision is where a call that came in over a link goes on.
type Decision struct {
	Action    Action
	Namespace string // Local: the namespace of the origin here
	Target    Target // Forward: where to; Node, Namespace, Link and LinkNamespace go into the next Open
	// Targets are set where this node has to choose among origins in the caller's stead (the call
	// crosses from a namespace into a group, or back); Target is the first of them.
	Targets []Target
	Policy  Policy
}

// Route resolves a call for an origin that came in over a link that carries linkNamespace. An empty
// originNamespace means linkNamespace. It does not allocate.
func (s *Snapshot) Route(linkNamespace string, origin nodeid.ID, originNamespace, procedure string) (d Decision) {
	if r, ok := s.arrive(&d, linkNamespace, origin, originNamespace, procedure, forCalls); ok {
		c := r.choice()
		d = decisionFor(c.Targets[0])
		d.Targets, d.Policy = c.Targets, c.Policy
	}
	return d
}

// RouteLead is Route, but where this node has to choose among origins it is the one that leads.
func (s *Snapshot) RouteLead(linkNamespace string, origin nodeid.ID, originNamespace, procedure string) (d Decision) {
	if r, ok := s.arrive(&d, linkNamespace, origin, originNamespace, procedure, toLead); ok {
		_, to := r.lead()
		d = decisionFor(to)
	}
	return d
}

func decisionFor(t Target) Decision {
	if t.Local {
		return Decision{Action: Local, Namespace: t.Namespace, Target: t}
	}
	return Decision{Action: Forward, Target: t}
}

// arrive fills in where a call that came in goes on, or returns what it leads to where it has come to an item of
// this node that is derived by a group.
func (s *Snapshot) arrive(
	d *Decision, linkNamespace string, origin nodeid.ID, originNamespace, procedure string, p purpose,
) (r resolved, derived bool) {
	if originNamespace == "" {
		originNamespace = linkNamespace
	}
	t, it := s.hop(linkNamespace, origin, originNamespace, procedure)
	switch {
	case t != nil:
		d.Action, d.Target = Forward, *t
	case it == nil:
	case it.more().group == nil:
		d.Action, d.Namespace = Local, originNamespace
	default:
		return s.resolveDerived(it, p)
	}
	return resolved{}, false
}

// hop returns where a call that came in goes on, or the item of this node that it has come to, or
// neither.
func (s *Snapshot) hop(linkNamespace string, origin nodeid.ID, originNamespace, procedure string) (*Target, *item) {
	v := s.domain(linkNamespace)
	if v == nil {
		return nil, nil
	}
	i, ok := v.vertices[vertex{origin, originNamespace}]
	if !ok || !v.reached[i] {
		return nil, nil
	}
	if t := &v.routes[i].targets[0]; !t.Local {
		return t, nil
	}
	return nil, v.own(i, procedure)
}

// domain returns what links of a name carry, or nil.
func (s *Snapshot) domain(name string) *view {
	p := s.places[name]
	if p == nil || p.domain == none {
		return nil
	}
	return s.views[p.domain]
}

// Path returns the nodes on the way to t, from this one to t's, ends included. It is for showing.
func (s *Snapshot) Path(t Target) []nodeid.ID {
	if t.Local {
		return []nodeid.ID{s.self}
	}
	v := s.domain(t.LinkNamespace)
	if v == nil {
		return nil
	}
	i, ok := v.vertices[vertex{t.Node, t.Namespace}]
	if !ok || !v.reached[i] {
		return nil
	}
	var path []nodeid.ID
	for ; i != none; i = v.routes[i].before {
		path = append(path, v.routes[i].view.node)
	}
	if path[len(path)-1] != s.self {
		path = append(path, s.self)
	}
	slices.Reverse(path)
	return path
}
