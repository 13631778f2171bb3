package mesh

import (
	"maps"
	"slices"
)

// contest is what was told of a procedure with origins that are in each other's way.
type contest struct {
	told map[clash]bool
}

// clash is an origin that another one keeps from serving.
type clash struct {
	kind       EventKind
	node       NodeID
	ns         string // of FunctionDiffers
	registered int64
	owner      NodeID
	schema     string // the owner's, if that is why
}

// contest notes that a procedure has several origins.
func (d *database) contest(procedure string) {
	if d.contested[procedure] == nil {
		d.contested[procedure] = &contest{}
	}
	d.disputed = true
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

// settleContest tells of origins that are kept from serving and were not before.
func (d *database) settleContest(procedure string, c *contest) {
	cur := d.fns.get(procedure)
	if cur == nil || cur.kind != kindMany {
		delete(d.contested, procedure)
		return
	}
	v := d.current()
	serving := v.first(cur.extra.many, inNamespace, nil)
	told := map[clash]bool{}
	for _, it := range cur.extra.many.items {
		cl := d.clash(&v, serving, it)
		if cl.kind == 0 || told[cl] {
			continue
		}
		told[cl] = true
		if !c.told[cl] {
			d.tellClash(procedure, cl, serving, it)
		}
	}
	c.told = told
}

// clash returns how an item is kept from serving; of no kind if it is not.
func (d *database) clash(v *view, serving, it *item) clash {
	if serving == nil {
		return clash{}
	}
	cl := clash{node: v.origin(it), registered: it.fn.Registered, owner: v.origin(serving)}
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
		e.Cause = conflict(serving, it)
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

func conflict(serving, it *item) string {
	if serving.fn.Policy != Single && it.fn.Policy != Single {
		return "its policy differs from that of the earlier origin"
	}
	return "another origin was registered earlier"
}

// nameOf returns the name of a node that is a member here, or "".
func (d *database) nameOf(id NodeID) string {
	if records := d.byNode[id]; len(records) > 0 {
		return records[0].info().GetName()
	}
	return ""
}
