package mesh

import (
	"maps"
	"slices"
)

// contest is what was told of a procedure with origins that are in each other's way.
type contest struct {
	shadowed map[shadow]bool
}

// shadow is an origin that another one keeps from serving.
type shadow struct {
	node       NodeID
	registered int64
	owner      NodeID
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

// settleContest tells of origins that are shadowed and were not before.
func (d *database) settleContest(procedure string, c *contest) {
	cur := d.fns.get(procedure)
	if cur == nil || cur.kind != kindMany {
		delete(d.contested, procedure)
		return
	}
	v := d.current()
	serving := v.first(cur.extra.many, inNamespace, nil)
	shadowed := map[shadow]bool{}
	for _, it := range cur.extra.many.items {
		if !v.shadows(serving, it) {
			continue
		}
		s := shadow{v.origin(it), it.fn.Registered, v.origin(serving)}
		if shadowed[s] {
			continue
		}
		shadowed[s] = true
		if !c.shadowed[s] {
			d.emit(Event{
				Kind: FunctionShadowed, Procedure: procedure, Node: s.node, Name: d.core.nameOf(s.node), Callable: true,
				Owner: s.owner, OwnerName: d.core.nameOf(s.owner), Cause: conflict(serving, it),
			})
		}
	}
	c.shadowed = shadowed
}

func conflict(serving, it *item) string {
	if serving.fn.Policy != Single && it.fn.Policy != Single {
		return "its policy differs from that of the earlier origin"
	}
	return "another origin was registered earlier"
}

// nameOf returns the name of a node that is a member here, or "".
func (d *database) nameOf(id NodeID) string {
	for _, r := range d.records {
		if r != nil && r.node == id {
			return r.info().GetName()
		}
	}
	return ""
}
