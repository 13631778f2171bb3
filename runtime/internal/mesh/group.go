package mesh

import (
	"bytes"
	"maps"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// group is several namespaces seen as one.
type group struct {
	namespace *namespace
	members   []*namespace
	bridged   bool
}

// DeclareGroup makes name stand for members, in this order, and declares those. Declaring the same
// again does nothing. Errors: *NameError (also where name is a namespace already, or a group with other
// members), *LimitError.
func (c *Core) DeclareGroup(now time.Time, name string, members []string, bridged bool) error {
	c.now = now
	if s := c.namespaces[name]; s != nil {
		if s.group == nil {
			return &NameError{What: "group", Name: name, Reason: "is a namespace of this node already"}
		}
		if !s.group.sameAs(members, bridged) {
			return &NameError{What: "group", Name: name, Reason: "is declared with other members already"}
		}
		return nil
	}
	if err := c.checkGroup(name, members); err != nil {
		return err
	}
	s := &namespace{name: name, group: &group{bridged: bridged}}
	s.group.namespace = s
	c.namespaces[name] = s
	c.declared = append(c.declared, s)
	c.namespacesChanged = true
	for _, m := range members {
		if c.namespaces[m] == nil {
			c.declare(m)
		}
		s.group.members = append(s.group.members, c.namespaces[m])
	}
	if bridged {
		c.bridgeMembers(s.group.members)
	}
	c.dirty = true
	return nil
}

func (c *Core) checkGroup(name string, members []string) error {
	bad := func(reason string) error { return &NameError{What: "group", Name: clip(name), Reason: reason} }
	if len(members) == 0 {
		return bad("has no members: give it some")
	}
	n := 1
	for i, m := range members {
		switch s := c.namespaces[m]; {
		case m == name:
			return bad("has itself as a member")
		case slices.Contains(members[:i], m):
			return bad("has a member twice")
		case s == nil:
			n++
		case s.group != nil:
			return bad("has a group as a member")
		}
	}
	return c.checkDeclare(n, append([]string{name}, members...)...)
}

func (g *group) sameAs(members []string, bridged bool) bool {
	return g.bridged == bridged && slices.EqualFunc(g.members, members, func(s *namespace, name string) bool { return s.name == name })
}

// sharedMembers returns the members that are among names.
func (g *group) sharedMembers(names []string) []*namespace {
	var shared []*namespace
	for _, m := range g.members {
		if slices.Contains(names, m.name) {
			shared = append(shared, m)
		}
	}
	return shared
}

// Ask returns what this node's Join says of these names. Errors: *UndeclaredError.
func (c *Core) Ask(names []string) ([]*linkv1.LinkNamespace, error) {
	var asked []*linkv1.LinkNamespace
	for _, name := range names {
		s := c.namespaces[name]
		if s == nil {
			return nil, &UndeclaredError{Namespace: name}
		}
		asked = append(asked, s.joinEntry())
	}
	return asked, nil
}

func (s *namespace) joinEntry() *linkv1.LinkNamespace {
	n := &linkv1.LinkNamespace{Name: s.name}
	if s.group != nil {
		for _, m := range s.group.members {
			n.Members = append(n.Members, m.name)
		}
	}
	return n
}

// Answer returns what the listener's Join says to a dialler's, and which of the names asked for it
// cannot carry: this node does not hold them, or holds a group that shares no member with the
// dialler's. Errors: *ProtocolError, *LimitError.
func (c *Core) Answer(asked []*linkv1.LinkNamespace) (answer []*linkv1.LinkNamespace, unknown []string, err error) {
	if len(asked) > c.cfg.Limits.Namespaces {
		return nil, nil, &LimitError{What: "namespaces of one link", Limit: c.cfg.Limits.Namespaces}
	}
	done := map[string]bool{}
	for _, a := range asked {
		name := a.GetName()
		if err := checkForeign(name); err != nil {
			return nil, nil, broken("%v", err)
		}
		if done[name] {
			continue
		}
		done[name] = true
		s := c.namespaces[name]
		if s == nil || s.group != nil && len(a.GetMembers()) > 0 && len(s.group.sharedMembers(a.GetMembers())) == 0 {
			unknown = append(unknown, name)
			continue
		}
		answer = append(answer, s.joinEntry())
	}
	return answer, unknown, nil
}

// activateGroup gives a group the domain of its name, for ends that hold that as a plain namespace.
func (c *Core) activateGroup(s *namespace) {
	if s.domain != nil {
		return
	}
	c.openDomain(s)
	s.domain.groups = append(s.domain.groups, s.group)
	for _, m := range s.group.members {
		m.domain.groups = append(m.domain.groups, s.group)
		m.domain.rederiveAll()
	}
}

// derive has the groups' records follow what changed in their members, and the other way round.
//
// What an origin offers to a group goes down into its members; what is in a member goes up into the
// group. What went up goes nowhere else, so nothing of one member gets into another, and nothing
// holds itself up.
func (c *Core) derive() {
	if c.leaving {
		return
	}
	for _, s := range c.declared {
		if s.group == nil && s.record != nil && len(s.domain.groups) > 0 {
			c.deriveDown(s)
		}
	}
	for _, s := range c.declared {
		if s.group != nil && s.record != nil {
			s.group.deriveUp()
		}
	}
}

// deriveDown brings into a member what was offered to its groups.
func (c *Core) deriveDown(m *namespace) {
	offered := map[string]bool{}
	for _, g := range m.groups() {
		for p := range g.namespace.domain.originChanges {
			offered[p] = true
		}
	}
	for _, p := range slices.Sorted(maps.Keys(offered)) {
		var best offer
		for _, g := range m.groups() {
			v := g.namespace.domain.current()
			if it, _ := v.pick(p, fromGroup, nil); it != nil {
				if o := (offer{it, g.namespace.domain.rank(it), g}); best.it == nil || o.rank.compare(best.rank) < 0 {
					best = o
				}
			}
		}
		m.originateDerived(p, best, down)
	}
}

// groups returns those with a domain of their own that a namespace is a member of.
func (s *namespace) groups() []*group {
	return slices.DeleteFunc(slices.Clone(s.domain.groups), func(g *group) bool { return !slices.Contains(g.members, s) })
}

// deriveUp brings into a group's domain what is in its members, of the first member that has it.
func (g *group) deriveUp() {
	touched := map[string]bool{}
	for _, m := range append([]*namespace{g.namespace}, g.members...) {
		for p := range m.domain.originChanges {
			touched[p] = true
		}
	}
	domain := g.namespace.domain.current()
	for _, p := range slices.Sorted(maps.Keys(touched)) {
		var first offer
		for _, m := range g.members {
			v := m.domain.current()
			if it, _ := v.pick(p, towardGroup, &domain); it != nil {
				first = offer{it, m.domain.rank(it), g}
				break
			}
		}
		g.namespace.originateDerived(p, first, up)
	}
}

// offer is a function that a group passes on.
type offer struct {
	it    *item
	rank  rank
	group *group
}

// originateDerived puts a function that this node passes on into its record, or withdraws it, if o is none.
func (s *namespace) originateDerived(procedure string, o offer, how linkv1.Derivation) {
	now := s.record.derived[procedure]
	told := now != nil && !now.removed
	switch {
	case o.it == nil && told:
		s.domain.originate(s.record, &item{removed: true, fn: Function{Procedure: procedure}, extra: &extra{derivation: how, at: s.domain.core.now}})
	case o.it == nil || told && now.derivesFrom(o):
	case !told && s.record.liveFunctions >= s.domain.core.cfg.Limits.MemberFunctions:
	default:
		e := o.it.more()
		again := &item{fn: o.it.fn, hasAge: o.it.hasAge, extra: &extra{
			derivation: how, origin: o.rank.node, group: o.group, compatible: e.compatible, age: e.age, stamp: o.it.stamp(), level: e.level, behind: e.behind,
		}}
		again.fn.Registered = int64(o.rank.registered)
		s.domain.originate(s.record, again)
	}
}

// derivesFrom reports whether the item passes on just that.
func (it *item) derivesFrom(o offer) bool {
	f, g, e, by := &it.fn, &o.it.fn, it.extra, o.it.more()
	return e.origin == o.rank.node && e.group == o.group && uint64(f.Registered) == o.rank.registered && f.Policy == g.Policy &&
		f.StreamType == g.StreamType && f.Idempotency == g.Idempotency && bytes.Equal(f.Schema, g.Schema) &&
		it.hasAge == o.it.hasAge && e.age == by.age && e.stamp == o.it.stamp() && e.level == by.level && e.behind == by.behind &&
		slices.EqualFunc(e.compatible, by.compatible, bytes.Equal)
}
