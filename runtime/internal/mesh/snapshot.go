package mesh

import "slices"

// Snapshot is what a core knew at one moment. It never changes; any number of goroutines may use it.
type Snapshot struct {
	self   NodeID
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
	Node          NodeID // goes into Open.origin
	Name          string // the node's
	Namespace     string // where the node holds it; goes into Open.origin_namespace
	Local         bool   // it is here; the fields below are zero
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
	p := s.places[ns]
	if p == nil {
		return Choice{}, false
	}
	for _, i := range p.members {
		if c, ok := s.find(s.views[i], procedure, inNamespace, nil); ok {
			return c, true
		}
	}
	return Choice{}, false
}

// find resolves a procedure in a domain.
func (s *Snapshot) find(v *view, procedure string, sc scope, into *view) (Choice, bool) {
	it, many := v.pick(procedure, sc, into)
	switch {
	case it == nil:
		return Choice{}, false
	case it.more().group == nil:
		return Choice{&it.fn, v.registered(it), it.fn.Policy, v.targets(it, many, sc)}, true
	}
	if many != nil && it.fn.Policy != Single {
		if t := v.sets[many.set(it.fn.Policy, sc).id]; len(t) > 0 {
			return Choice{&it.fn, v.registered(it), it.fn.Policy, t}, true // the domain's own come first
		}
	}
	return s.through(it)
}

// through resolves a procedure that is derived here, where it is derived from.
func (s *Snapshot) through(it *item) (Choice, bool) {
	p := s.places[it.extra.group.namespace.name]
	domain := s.views[p.domain]
	if it.derivation() == down {
		return s.find(domain, it.fn.Procedure, fromGroup, nil)
	}
	for _, i := range p.members {
		if c, ok := s.find(s.views[i], it.fn.Procedure, towardGroup, domain); ok {
			return c, true
		}
	}
	return Choice{}, false
}

// Lead resolves a procedure as Find does, but to the origin that leads: the one that was registered first,
// whose schema counts. It does not allocate.
func (s *Snapshot) Lead(ns, procedure string) (*Function, Target, bool) {
	p := s.places[ns]
	if p == nil {
		return nil, Target{}, false
	}
	for _, i := range p.members {
		if f, t, ok := s.lead(s.views[i], procedure, inNamespace, nil); ok {
			return f, t, true
		}
	}
	return nil, Target{}, false
}

// lead is find for the origin that leads.
func (s *Snapshot) lead(v *view, procedure string, sc scope, into *view) (*Function, Target, bool) {
	it, _ := v.pick(procedure, sc, into)
	switch {
	case it == nil:
		return nil, Target{}, false
	case it.more().group == nil:
		return &it.fn, v.routes[it.rec].targets[0], true
	}
	return s.leadThrough(it)
}

// leadThrough is through for the origin that leads.
func (s *Snapshot) leadThrough(it *item) (*Function, Target, bool) {
	p := s.places[it.extra.group.namespace.name]
	domain := s.views[p.domain]
	if it.derivation() == down {
		return s.lead(domain, it.fn.Procedure, fromGroup, nil)
	}
	for _, i := range p.members {
		if f, t, ok := s.lead(s.views[i], it.fn.Procedure, towardGroup, domain); ok {
			return f, t, true
		}
	}
	return nil, Target{}, false
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
func (s *Snapshot) Route(linkNamespace string, origin NodeID, originNamespace, procedure string) Decision {
	if originNamespace == "" {
		originNamespace = linkNamespace
	}
	t, it := s.hop(linkNamespace, origin, originNamespace, procedure)
	switch {
	case t != nil:
		return Decision{Action: Forward, Target: *t}
	case it == nil:
		return Decision{}
	case it.more().group == nil:
		return Decision{Action: Local, Namespace: originNamespace}
	}
	c, ok := s.through(it)
	if !ok {
		return Decision{}
	}
	d := Decision{Action: Forward, Target: c.Targets[0], Targets: c.Targets, Policy: c.Policy}
	if d.Target.Local {
		d.Action, d.Namespace = Local, d.Target.Namespace
	}
	return d
}

// RouteLead is Route, but where this node has to choose among origins it is the one that leads.
func (s *Snapshot) RouteLead(linkNamespace string, origin NodeID, originNamespace, procedure string) Decision {
	if originNamespace == "" {
		originNamespace = linkNamespace
	}
	t, it := s.hop(linkNamespace, origin, originNamespace, procedure)
	switch {
	case t != nil:
		return Decision{Action: Forward, Target: *t}
	case it == nil:
		return Decision{}
	case it.more().group == nil:
		return Decision{Action: Local, Namespace: originNamespace}
	}
	_, to, ok := s.leadThrough(it)
	switch {
	case !ok:
		return Decision{}
	case to.Local:
		return Decision{Action: Local, Namespace: to.Namespace}
	}
	return Decision{Action: Forward, Target: to}
}

// hop returns where a call that came in goes on, or the item of this node that it has come to, or
// neither.
func (s *Snapshot) hop(linkNamespace string, origin NodeID, originNamespace, procedure string) (*Target, *item) {
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
func (s *Snapshot) Path(t Target) []NodeID {
	if t.Local {
		return []NodeID{s.self}
	}
	v := s.domain(t.LinkNamespace)
	if v == nil {
		return nil
	}
	i, ok := v.vertices[vertex{t.Node, t.Namespace}]
	if !ok || !v.reached[i] {
		return nil
	}
	var path []NodeID
	for ; i != none; i = v.routes[i].before {
		path = append(path, v.routes[i].view.node)
	}
	if path[len(path)-1] != s.self {
		path = append(path, s.self)
	}
	slices.Reverse(path)
	return path
}
