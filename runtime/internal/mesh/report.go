package mesh

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// exclusion is an origin that another one keeps from serving.
type exclusion struct {
	kind       EventKind
	node       nodeid.ID
	ns         string // of FunctionDiffers
	registered int64
	owner      nodeid.ID
	schema     string // the owner's, if that is why
}

// reportChanges emits events for functions that came, went or exclude each other.
func (d *domain) reportChanges() {
	if d.watchers > 0 {
		for _, p := range slices.Sorted(maps.Keys(d.originChanges)) {
			d.reportOrigins(p, d.originChanges[p])
		}
	}
	clear(d.originChanges)
	if !d.conflictsChanged {
		return
	}
	d.conflictsChanged = false
	d.rebuildDirty()
	for _, p := range slices.Sorted(maps.Keys(d.conflicts)) {
		d.reportConflict(p, d.conflicts[p])
	}
}

// reportOrigins emits events for the origins of a procedure that came and went.
func (d *domain) reportOrigins(procedure string, touches []originChange) {
	type change struct{ before, after originChange }
	var order []int32
	changes := map[int32]*change{}
	for _, t := range touches {
		if t.it == nil {
			continue
		}
		c := changes[t.it.rec]
		if c == nil {
			c = &change{before: t}
			changes[t.it.rec] = c
			order = append(order, t.it.rec)
		}
		c.after = t
	}
	v := d.current()
	serving, _ := v.pick(procedure, inNamespace, nil)
	for _, rec := range order {
		c := changes[rec]
		if c.before.added != c.after.added {
			continue // it came and went, or the other way round
		}
		e := Event{Kind: FunctionWithdrawn, Procedure: procedure, Node: d.origin(c.after.it), Callable: serving != nil, Cause: c.after.cause}
		if c.after.added {
			e.Kind = FunctionAdded
		}
		e.Name = d.core.nameOf(e.Node)
		d.emit(e)
	}
}

// maxExclusions bounds how many origins of one procedure are reported as kept from serving, but for this node's.
const maxExclusions = 64

// reportConflict emits events for origins that are kept from serving and were not before.
func (d *domain) reportConflict(procedure string, c *conflict) {
	cur := d.functions.get(procedure)
	v := d.current()
	serving := v.first(cur.extra.candidates, inNamespace, nil)
	told := map[exclusion]bool{}
	for _, it := range cur.extra.candidates.items {
		if it.removed {
			break
		}
		cl := d.exclusionOf(&v, serving, it)
		if cl.kind == 0 || told[cl] || len(told) >= maxExclusions && !d.isOwn(d.records[it.rec]) {
			continue
		}
		if !c.reported[cl] {
			if d.undecided(procedure, c, serving, it) {
				continue
			}
			d.reportExclusion(procedure, cl, serving, it)
		}
		told[cl] = true
	}
	c.reported = told
}

// undecided reports whether two origins may yet change places.
func (d *domain) undecided(procedure string, c *conflict, serving, it *item) bool {
	if !c.held[d.registration(it)].IsZero() {
		return true
	}
	for r, s := range c.rivalries {
		mine, other := it, serving
		if r.idx != it.rec {
			mine, other = serving, it
		}
		v := s.rivals[d.registration(other)]
		if r.idx != mine.rec || mine.derivation() != 0 || v == nil || v.older == (mine == it) {
			continue
		}
		if until := v.met.Add(patience); until.After(d.core.now) {
			d.recheckAt(procedure, c, until)
			return true
		}
	}
	return false
}

// exclusionOf returns how an item is kept from serving; of no kind if it is not.
func (d *domain) exclusionOf(v *view, serving, it *item) exclusion {
	if serving == nil {
		return exclusion{}
	}
	cl := exclusion{node: v.origin(it), registered: it.stamp(), owner: v.origin(serving)}
	switch r := d.records[it.rec]; {
	case v.isShadowed(serving, it):
		cl.kind = FunctionShadowed
	case !v.isIncompatible(serving, it):
		return exclusion{}
	case it.derivation() == 0 && d.isOwn(r):
		cl.kind, cl.ns, cl.schema = FunctionDiffers, r.ns, string(serving.fn.Schema)
	default:
		cl.kind, cl.schema = FunctionIncompatible, string(serving.fn.Schema)
	}
	return cl
}

func (d *domain) reportExclusion(procedure string, cl exclusion, serving, it *item) {
	e := Event{
		Kind: cl.kind, Procedure: procedure, Node: cl.node, Name: d.core.nameOf(cl.node), Callable: true,
		Owner: cl.owner, OwnerName: d.core.nameOf(cl.owner),
	}
	switch cl.kind {
	case FunctionShadowed:
		e.Cause = d.exclusionCause(procedure, serving, it)
	default:
		e.Schema = serving.fn.Schema
	}
	if cl.kind == FunctionDiffers {
		e.Namespace = cl.ns
		d.core.events = append(d.core.events, e)
		return
	}
	d.emit(e)
}

// exclusionCause says why an origin does not serve beside another one, of this node's with all that is known.
func (d *domain) exclusionCause(procedure string, serving, it *item) string {
	if serving.fn.Policy == it.fn.Policy {
		return d.precedenceCause(procedure, serving, it)
	}
	return fmt.Sprintf("it has the policy %v, and that of %s has %v: register all origins of a function with one policy; %s",
		it.fn.Policy, d.core.nameOf(d.origin(serving)), serving.fn.Policy, d.precedenceCause(procedure, serving, it))
}

// precedenceCause says why an origin stands behind another one.
func (d *domain) precedenceCause(procedure string, serving, it *item) string {
	if r := d.records[it.rec]; it.derivation() == 0 && d.isOwn(r) {
		if s := d.conflicts[procedure].rivalries[r]; s != nil && s.rivals[d.registration(serving)] != nil {
			return d.compareAges(s.rivals[d.registration(serving)], d.core.namespaces[r.ns].registeredAt[procedure], serving, it)
		}
	}
	return "another origin was registered earlier"
}

// compareAges says which of two origins is the older by how much, and how far the nodes' clocks are apart.
func (d *domain) compareAges(v *rival, born time.Time, serving, own *item) string {
	clock := func(stamp int64) string { return time.Unix(0, stamp).UTC().Format(time.RFC3339) }
	age := func(born time.Time) time.Duration { return d.core.now.Sub(born).Round(time.Millisecond) }
	name := d.core.nameOf(d.origin(serving))
	mine := fmt.Sprintf("this node has had it for %v, since %s by its clock", age(born), clock(own.stamp()))
	if v.born.IsZero() {
		return fmt.Sprintf("%s; %s does not say for how long, since %s by its clock", mine, name, clock(serving.stamp()))
	}
	skew, way := time.Unix(0, serving.stamp()).Sub(v.born).Round(time.Millisecond), "ahead of"
	if skew < 0 {
		skew, way = -skew, "behind"
	}
	return fmt.Sprintf("%s; %s for %v, since %s by its clock, which is %v %s this node's",
		mine, name, age(v.born), clock(serving.stamp()), skew, way)
}

// nameOf returns the name of a node that is a member here, or "".
func (d *domain) nameOf(id nodeid.ID) string {
	if records := d.byNode[id]; len(records) > 0 {
		return records[0].info().GetName()
	}
	return ""
}
