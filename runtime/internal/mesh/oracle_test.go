package mesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// world is what a test did to a cluster, and works out by brute force what must follow from it.
type world struct {
	c       *cluster
	origins map[place3]mark
	bridges [][]string // members of all groups that ever were bridged
}

// place3 is a function at a node in a namespace.
type place3 struct {
	node, ns, procedure string
}

// mark is an origin as it is known: by where it stands, by its node's own word.
type mark struct {
	level      uint32
	registered uint64
	node       string
	stamp      int64 // of several registrations of one node
	policy     Policy
	schema     string
}

func (m mark) before(o mark) bool {
	return m.level > o.level || m.level == o.level && (m.registered < o.registered ||
		m.registered == o.registered && (m.node < o.node || m.node == o.node && m.stamp < o.stamp))
}

// is reports whether two are the same registration: in several namespaces of a group it may stand differently.
func (m mark) is(o mark) bool {
	m.level, m.registered = o.level, o.registered
	return m == o
}

// mark returns how an origin stands now.
func (w *world) mark(at place3) mark {
	m := w.origins[at]
	s := w.c.node(at.node).core.namespaces[at.ns]
	if it := s.record.functions[at.procedure]; it != nil {
		r := s.domain.rank(it)
		m.level, m.registered, m.stamp = r.level, r.registered, r.stamp
	}
	return m
}

// site3 is a node in a domain.
type site3 struct{ node, ns string }

// oracle is what must be true of a cluster at rest.
type oracle struct {
	w         *world
	component map[site3]int
	visible   map[int]map[string]map[mark][]source // by component and procedure
}

// source is by whom a function is in a component.
type source struct {
	node  string
	group *group // that it came down from; nil: another way
	up    bool   // it came up into a group
}

func (w *world) oracle() *oracle {
	o := &oracle{w: w, component: map[site3]int{}, visible: map[int]map[string]map[mark][]source{}}
	o.connect()
	for at := range w.origins {
		o.show(site3{at.node, at.ns}, at.procedure, w.mark(at), source{node: at.node})
	}
	o.derive()
	return o
}

// connect finds which sites are joined by links that carry their namespace, and by bridges.
func (o *oracle) connect() {
	edges := map[site3][]site3{}
	join := func(a, b site3) {
		edges[a] = append(edges[a], b)
		edges[b] = append(edges[b], a)
	}
	for _, n := range o.w.c.nodes {
		for _, s := range n.core.declared {
			if s.domain != nil {
				edges[site3{n.name, s.name}] = nil
			}
		}
	}
	for _, n := range o.w.c.nodes {
		for _, s := range n.core.declared {
			if s.group != nil && s.group.bridged {
				for _, m := range s.group.members[1:] {
					join(site3{n.name, s.group.members[0].name}, site3{n.name, m.name})
				}
			}
		}
	}
	proxies := map[site3]site3{}
	for _, l := range o.w.c.links {
		for _, ld := range l.ends[0].core.links[l.id].domains {
			a, b := site3{l.ends[0].name, ld.name}, site3{l.ends[1].name, ld.name}
			if l.ends[0].core.cfg.Observer {
				proxies[a] = b
			} else {
				join(a, b)
			}
		}
	}
	next := 0
	for s := range edges {
		if _, ok := o.component[s]; ok {
			continue
		}
		next++
		todo := []site3{s}
		for len(todo) > 0 {
			s, todo = todo[0], todo[1:]
			if _, ok := o.component[s]; ok {
				continue
			}
			o.component[s] = next
			todo = append(todo, edges[s]...)
		}
	}
	for a, b := range proxies {
		o.component[a] = o.component[b]
	}
}

func (o *oracle) show(s site3, procedure string, m mark, by source) {
	k := o.component[s]
	if o.visible[k] == nil {
		o.visible[k] = map[string]map[mark][]source{}
	}
	if o.visible[k][procedure] == nil {
		o.visible[k][procedure] = map[mark][]source{}
	}
	o.visible[k][procedure][m] = append(o.visible[k][procedure][m], by)
}

// first returns the earliest origin of a procedure that some source counts of.
func (o *oracle) first(s site3, procedure string, counts func(mark, source) bool) (best mark, ok bool) {
	for m, sources := range o.visible[o.component[s]][procedure] {
		for _, by := range sources {
			if counts(m, by) && (!ok || m.before(best)) {
				best, ok = m, true
			}
		}
	}
	return best, ok
}

func anySource(mark, source) bool { return true }

// own reports whether a source is the origin itself.
func own(_ mark, s source) bool { return s.group == nil && !s.up }

// derive brings functions down from and up to the plain domains of groups.
func (o *oracle) derive() {
	type change struct {
		at site3
		p  string
		m  mark
		by source
	}
	var changes []change
	for _, n := range o.w.c.nodes {
		for _, member := range n.core.declared {
			if member.group != nil || n.core.leaving {
				continue
			}
			best := map[string]change{}
			for _, g := range member.groups() {
				at := site3{n.name, g.namespace.name}
				for p := range o.visible[o.component[at]] {
					m, ok := o.first(at, p, own)
					if old, found := best[p]; ok && (!found || m.before(old.m)) {
						best[p] = change{site3{n.name, member.name}, p, m, source{node: n.name, group: g}}
					}
				}
			}
			changes = slices.AppendSeq(changes, maps.Values(best))
		}
	}
	for _, c := range changes {
		o.show(c.at, c.p, c.m, c.by)
	}
	changes = nil
	o.groups(func(n *simNode, s *namespace) {
		done := map[string]bool{}
		for _, member := range s.group.members {
			at := site3{n.name, member.name}
			for p := range o.visible[o.component[at]] {
				m, ok := o.first(at, p, func(m mark, by source) bool {
					return by.group == nil || !o.offered(site3{n.name, s.name}, p, m)
				})
				if ok && !done[p] {
					done[p] = true
					changes = append(changes, change{site3{n.name, s.name}, p, m, source{node: n.name, up: true}})
				}
			}
		}
	})
	for _, c := range changes {
		o.show(c.at, c.p, c.m, c.by)
	}
}

// offered reports whether an origin itself is in the component of a site.
func (o *oracle) offered(s site3, procedure string, m mark) bool {
	return slices.ContainsFunc(o.visible[o.component[s]][procedure][m], func(by source) bool { return own(m, by) })
}

func (o *oracle) groups(do func(n *simNode, s *namespace)) {
	for _, n := range o.w.c.nodes {
		for _, s := range n.core.declared {
			if s.group != nil && s.domain != nil && !n.core.leaving {
				do(n, s)
			}
		}
	}
}

// finds returns what a call from a node in a namespace or group must come to.
func (o *oracle) finds(n *simNode, ns, procedure string) (mark, bool) {
	for _, s := range n.core.members(ns) {
		if m, ok := o.first(site3{n.name, s.name}, procedure, anySource); ok {
			return m, true
		}
	}
	return mark{}, false
}

// verify compares all nodes with what must be.
func (w *world) verify() (problems []string) {
	o := w.oracle()
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	procedures := map[string]bool{}
	for at := range w.origins {
		procedures[at.procedure] = true
	}
	for _, n := range w.c.nodes {
		for _, s := range n.core.declared {
			for _, p := range slices.Sorted(maps.Keys(procedures)) {
				w.verifyCall(o, n, s.name, p, bad)
			}
		}
	}
	problems = append(problems, w.verifyTables(o)...)
	return problems
}

func (w *world) verifyCall(o *oracle, n *simNode, ns, p string, bad func(string, ...any)) {
	want, ok := o.finds(n, ns, p)
	choice, found := n.core.Snapshot().Find(ns, p)
	if ok != found {
		bad("%s finds %s in %s: %v, want %v", n.name, p, ns, found, ok)
		return
	}
	if !ok {
		return
	}
	if choice.Policy != want.policy {
		bad("%s finds %s in %s with policy %d, want %d", n.name, p, ns, choice.Policy, want.policy)
	}
	w.verifyLead(n, ns, p, want, bad)
	got := map[string]bool{}
	for _, t := range choice.Targets {
		path, at, in, err := w.c.follow(n, t, p)
		if err != nil {
			bad("%v", err)
			continue
		}
		got[at.name] = true
		_, there := w.origins[place3{at.name, in, p}]
		origin := w.mark(place3{at.name, in, p})
		if !there || origin.policy != want.policy || want.policy == PolicySingle && !origin.is(want) || !alike([]byte(origin.schema), []byte(want.schema)) {
			bad("%s calls %s in %s by %v and comes to %s/%s (%v), want %v", n.name, p, ns, path, at.name, in, origin, want)
		}
		shown := n.core.Snapshot().Path(t)
		for i, id := range shown {
			if i >= len(path) || w.c.node(path[i]).core.cfg.ID != id {
				bad("%s shows the path %v, but it is %v", n.name, shown, path)
				break
			}
		}
		if shown[len(shown)-1] != t.Node || t.Hops != len(shown)-1 {
			bad("%s shows the path %v of %d hops to %v", n.name, shown, t.Hops, t.Node)
		}
	}
	if replicas := o.replicas(n, ns, p, want); replicas != nil && !maps.Equal(got, replicas) {
		bad("%s spreads %s in %s over %v, want %v", n.name, p, ns, got, replicas)
	} else if replicas != nil {
		for f := range n.core.Snapshot().Functions(ns) {
			if f.Function.Procedure == p && !f.Shadowed && f.Incompatible == alike(f.Function.Schema, []byte(want.schema)) {
				bad("%s shows %s of %s in %s as incompatible: %v", n.name, p, f.Name, ns, f.Incompatible)
			}
		}
	}
}

// verifyLead checks that what is asked of the origin that leads comes to it.
func (w *world) verifyLead(n *simNode, ns, p string, want mark, bad func(string, ...any)) {
	f, t, ok := n.core.Snapshot().Lead(ns, p)
	if !ok || string(f.Schema) != want.schema {
		bad("%s finds the lead of %s in %s: %v, want %v", n.name, p, ns, f, want)
		return
	}
	path, at, in, err := w.c.followBy((*Snapshot).RouteLead, n, t, p)
	if err != nil {
		bad("%v", err)
	} else if got := w.mark(place3{at.name, in, p}); !got.is(want) {
		bad("%s asks the lead of %s in %s by %v and comes to %s/%s (%v), want %v", n.name, p, ns, path, at.name, in, got, want)
	}
}

// replicas returns the nodes that calls are to be spread over beside the one that leads, if no group has a
// part in it.
func (o *oracle) replicas(n *simNode, ns, procedure string, lead mark) map[string]bool {
	if lead.policy == PolicySingle || n.core.namespaces[ns].group != nil {
		return nil
	}
	nodes := map[string]bool{}
	for m, sources := range o.visible[o.component[site3{n.name, ns}]][procedure] {
		for _, by := range sources {
			if !own(m, by) {
				return nil
			}
		}
		if m.policy == lead.policy && alike([]byte(m.schema), []byte(lead.schema)) {
			nodes[m.node] = true
		}
	}
	return nodes
}

// verifyTables checks that nodes that can reach each other know the same of each other, and nothing
// of others.
func (w *world) verifyTables(o *oracle) (problems []string) {
	tables := map[int]map[vertex]string{}
	who := map[int]string{}
	for _, n := range w.c.nodes {
		for _, s := range n.core.declared {
			if s.domain == nil {
				continue
			}
			k := o.component[site3{n.name, s.name}]
			table := map[vertex]string{}
			for _, r := range s.domain.records {
				if r != nil && !w.bridged(s.domain.namespaces, r.ns) {
					problems = append(problems, fmt.Sprintf("%s/%s knows %s/%s", n.name, s.name, r.name(), r.ns))
				}
				if r != nil && r.path.reached {
					table[r.vertex] = r.String()
				}
				if r != nil && r.path.reached && o.component[site3{strings.TrimRight(string(r.node[:]), "\x00"), r.ns}] != k {
					problems = append(problems, fmt.Sprintf("%s/%s reaches %s/%s, which is elsewhere", n.name, s.name, r.name(), r.ns))
				}
			}
			if tables[k] == nil {
				tables[k], who[k] = table, n.name+"/"+s.name
				continue
			}
			for v, text := range tables[k] {
				if table[v] != text {
					problems = append(problems, fmt.Sprintf("%s/%s has of %s/%s: %s\n%s has: %s", n.name, s.name, v.node, v.ns, table[v], who[k], text))
				}
			}
			for v, text := range table {
				if tables[k][v] == "" {
					problems = append(problems, fmt.Sprintf("%s/%s has, unlike %s, %s/%s: %s", n.name, s.name, who[k], v.node, v.ns, text))
				}
			}
		}
	}
	return problems
}

// bridged reports whether a namespace was ever bridged to one of names, directly or not.
func (w *world) bridged(names []string, ns string) bool {
	reach := map[string]bool{ns: true}
	for grown := true; grown; {
		grown = false
		for _, members := range w.bridges {
			if slices.ContainsFunc(members, func(m string) bool { return reach[m] }) {
				for _, m := range members {
					grown = grown || !reach[m]
					reach[m] = true
				}
			}
		}
	}
	return slices.ContainsFunc(names, func(name string) bool { return reach[name] })
}

// String shows all that a record tells.
func (r *record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d.%d", r.name(), r.inc, r.version)
	for _, id := range slices.SortedFunc(maps.Keys(r.neighbours), nodeid.ID.Compare) {
		if it := r.neighbours[id]; !it.removed {
			fmt.Fprintf(&b, " %s:%d@%d", id, it.extra.cost, it.version)
		}
	}
	for _, ns := range slices.Sorted(maps.Keys(r.bridges)) {
		fmt.Fprintf(&b, " =%s", ns)
	}
	for _, m := range []map[string]*item{r.functions, r.derived} {
		for _, p := range slices.Sorted(maps.Keys(m)) {
			if it := m[p]; !it.removed {
				fmt.Fprintf(&b, " %s@%d(%v %d %d %s %s)", p, it.version, it.derivation(), it.fn.Registered, it.fn.Policy, it.fn.Schema, it.more().compatible)
			}
		}
	}
	return b.String()
}

// lacking returns a copy of a record that lacks an item of its origin's, which was last changed at
// or before the version that the copy claims to have.
func (w *world) lacking() string {
	for _, n := range w.c.nodes {
		for _, d := range n.core.domains {
			for _, r := range d.byVertex {
				own := w.original(r)
				if own == nil {
					continue
				}
				if r.version > own.version {
					return fmt.Sprintf("%s has a later version of %s/%s than that itself", n.name, r.name(), r.ns)
				}
				for _, e := range own.changes {
					if !e.it.superseded && !e.it.removed && e.version <= r.version && !r.has(e.it) {
						return fmt.Sprintf("%s has %s/%s at %d without what was said at %d: %v\nwant %v",
							n.name, r.name(), r.ns, r.version, e.version, r, own)
					}
				}
			}
		}
	}
	return ""
}

// original returns the record that r is a copy of, at its node, if that has not restarted.
func (w *world) original(r *record) *record {
	for _, n := range w.c.nodes {
		if s := n.core.namespaces[r.ns]; n.core.cfg.ID == r.node && n.core.inc == r.inc && s != nil && s.record != nil {
			return s.record
		}
	}
	return nil
}

// has reports whether a record has just that version of an item.
func (r *record) has(it *item) bool {
	var mine *item
	switch it.kind {
	case kindAbout:
		mine = r.about
	case kindAckRequest:
		mine = r.ackRequest
	case kindNeighbour:
		mine = r.neighbours[it.extra.neighbour]
	case kindBridge:
		mine = r.bridges[it.extra.bridge]
	case kindFunction:
		mine = r.functionsLike(it)[it.fn.Procedure]
	}
	return mine != nil && mine.version == it.version
}
