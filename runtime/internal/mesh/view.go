package mesh

// view is a database as one snapshot has it.
type view struct {
	names    []string
	fns      index
	routes   []route
	vertices map[vertex]int32
	sets     [][]Target
}

// pick returns the item of a procedure that serves among those in scope, or nil. What is derived
// here for the group except does not count.
func (v *view) pick(procedure string, s scope, except *group) (it *item, many *candidates) {
	switch it = v.fns.get(procedure); {
	case it == nil:
		return nil, nil
	case it.kind == kindMany:
		many = it.extra.many
		return v.first(many, s, except), many
	case !v.serves(it, s, except):
		return nil, nil
	default:
		return it, nil
	}
}

// serves reports whether an item is within reach and in scope.
func (v *view) serves(it *item, s scope, except *group) bool {
	if it.removed || !v.routes[it.rec].reached {
		return false
	}
	e := it.extra
	return e == nil || s.has(it) && (except == nil || e.group != except)
}

// first returns the item that serves of several. Of those of one origin it is the nearest.
func (v *view) first(m *candidates, s scope, except *group) (best *item) {
	for _, it := range m.items {
		if it.removed {
			break
		}
		if !v.serves(it, s, except) {
			continue
		}
		switch {
		case best == nil:
			best = it
		case it.fn.Registered != best.fn.Registered || v.origin(it) != v.origin(best):
			return best
		case it.derivation() == 0 == (best.derivation() == 0) && v.routes[it.rec].cost < v.routes[best.rec].cost:
			best = it
		}
	}
	return best
}

// origin returns the node that registered a function.
func (v *view) origin(it *item) NodeID {
	if it.derivation() != 0 {
		return it.extra.origin
	}
	return v.routes[it.rec].targets[0].Node
}

// targets returns where calls for an item that pick returned may go, unless it is derived here.
func (v *view) targets(it *item, many *candidates, s scope) []Target {
	if many != nil && it.fn.Policy != Single {
		if set := many.set(it.fn.Policy, s); set != nil {
			return v.sets[set.id]
		}
	}
	return v.routes[it.rec].targets[:]
}
