package mesh

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// clash is an origin that another one keeps from serving.
type clash struct {
	kind       EventKind
	node       NodeID
	ns         string // of FunctionDiffers
	registered int64
	owner      NodeID
	schema     string // the owner's, if that is why
}

// report tells of functions that came, went or are in each other's way.
func (d *database) report() {
	if d.watchers > 0 {
		for _, p := range slices.Sorted(maps.Keys(d.touched)) {
			d.reportTouched(p, d.touched[p])
		}
	}
	clear(d.touched)
	if !d.disputed {
		return
	}
	d.disputed = false
	d.flush()
	for _, p := range slices.Sorted(maps.Keys(d.contested)) {
		d.settleContest(p, d.contested[p])
	}
}

// reportTouched tells what became of the origins of a procedure that came and went.
func (d *database) reportTouched(procedure string, touches []touch) {
	type change struct{ before, after touch }
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

// maxClashes bounds how many origins of one procedure are told of as kept from serving, but for this node's.
const maxClashes = 64

// settleContest tells of origins that are kept from serving and were not before.
func (d *database) settleContest(procedure string, c *contest) {
	cur := d.fns.get(procedure)
	v := d.current()
	serving := v.first(cur.extra.many, inNamespace, nil)
	told := map[clash]bool{}
	for _, it := range cur.extra.many.items {
		if it.removed {
			break
		}
		cl := d.clash(&v, serving, it)
		if cl.kind == 0 || told[cl] || len(told) >= maxClashes && !d.isOwn(d.records[it.rec]) {
			continue
		}
		if !c.told[cl] {
			if d.unsettled(procedure, c, serving, it) {
				continue
			}
			d.tellClash(procedure, cl, serving, it)
		}
		told[cl] = true
	}
	c.told = told
}

// unsettled reports whether two origins may yet change places.
func (d *database) unsettled(procedure string, c *contest, serving, it *item) bool {
	if !c.held[d.registration(it)].IsZero() {
		return true
	}
	for r, s := range c.stands {
		mine, other := it, serving
		if r.idx != it.rec {
			mine, other = serving, it
		}
		v := s.rivals[d.registration(other)]
		if r.idx != mine.rec || mine.derivation() != 0 || v == nil || v.older == (mine == it) {
			continue
		}
		if until := v.met.Add(patience); until.After(d.core.now) {
			d.wait(procedure, c, until)
			return true
		}
	}
	return false
}

// clash returns how an item is kept from serving; of no kind if it is not.
func (d *database) clash(v *view, serving, it *item) clash {
	if serving == nil {
		return clash{}
	}
	cl := clash{node: v.origin(it), registered: it.stamp(), owner: v.origin(serving)}
	switch r := d.records[it.rec]; {
	case v.shadows(serving, it):
		cl.kind = FunctionShadowed
	case !v.keptOut(serving, it):
		return clash{}
	case it.derivation() == 0 && d.isOwn(r):
		cl.kind, cl.ns, cl.schema = FunctionDiffers, r.ns, string(serving.fn.Schema)
	default:
		cl.kind, cl.schema = FunctionIncompatible, string(serving.fn.Schema)
	}
	return cl
}

func (d *database) tellClash(procedure string, cl clash, serving, it *item) {
	e := Event{
		Kind: cl.kind, Procedure: procedure, Node: cl.node, Name: d.core.nameOf(cl.node), Callable: true,
		Owner: cl.owner, OwnerName: d.core.nameOf(cl.owner),
	}
	switch cl.kind {
	case FunctionShadowed:
		e.Cause = d.conflict(procedure, serving, it)
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

// conflict says why an origin does not serve beside another one, of this node's with all that is known.
func (d *database) conflict(procedure string, serving, it *item) string {
	if serving.fn.Policy == it.fn.Policy {
		return d.precedence(procedure, serving, it)
	}
	return fmt.Sprintf("it has the policy %v, and that of %s has %v: register all origins of a function with one policy; %s",
		it.fn.Policy, d.core.nameOf(d.origin(serving)), serving.fn.Policy, d.precedence(procedure, serving, it))
}

// precedence says why an origin stands behind another one.
func (d *database) precedence(procedure string, serving, it *item) string {
	if r := d.records[it.rec]; it.derivation() == 0 && d.isOwn(r) {
		if s := d.contested[procedure].stands[r]; s != nil && s.rivals[d.registration(serving)] != nil {
			return d.compareAges(s.rivals[d.registration(serving)], d.core.spaces[r.ns].born[procedure], serving, it)
		}
	}
	return "another origin was registered earlier"
}

// compareAges says which of two origins is the older by how much, and how far the nodes' clocks are apart.
func (d *database) compareAges(v *rival, born time.Time, serving, own *item) string {
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
func (d *database) nameOf(id NodeID) string {
	if records := d.byNode[id]; len(records) > 0 {
		return records[0].info().GetName()
	}
	return ""
}
