package mesh

import (
	"bytes"
	"slices"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// view is a domain as one snapshot has it.
type view struct {
	names     []string
	functions index
	routes    []*route // what is as it was is shared with the view before
	reached   []bool   // by record, as in routes; all that most look-ups need of them
	branches  []int32  // by record: of what hangs together without this node, one record
	vertices  map[vertex]int32
	sets      [][]Target
}

// pick returns the item of a procedure that serves among those in scope, or nil, and the others.
// With into, what is to go up into that domain of a group, what came down from there does not count.
func (v *view) pick(procedure string, s scope, into *view) (it *item, many *candidates) {
	switch it = v.functions.get(procedure); {
	case it == nil:
		return nil, nil
	case it.kind == kindCandidates:
		many = it.extra.candidates
		return v.first(many, s, into), many
	case !v.serves(it, s, into):
		return nil, nil
	default:
		return it, nil
	}
}

// serves reports whether an item is within reach and in scope.
func (v *view) serves(it *item, s scope, into *view) bool {
	if it.removed || !v.reached[it.rec] {
		return false
	}
	return it.extra == nil || s.has(it) && (into == nil || it.derivation() != down || !into.offers(it.fn.Procedure, v.registration(it)))
}

// offers reports whether an origin itself is in the domain and within reach.
func (v *view) offers(procedure string, reg registration) bool {
	is := func(it *item) bool {
		return it.derivation() == 0 && v.serves(it, fromGroup, nil) && v.registration(it) == reg
	}
	switch it := v.functions.get(procedure); {
	case it == nil:
		return false
	case it.kind == kindCandidates:
		return slices.ContainsFunc(it.extra.candidates.items, is)
	default:
		return is(it)
	}
}

// first returns the item that serves of several. Of those of one origin it is the nearest.
func (v *view) first(m *candidates, s scope, into *view) (best *item) {
	for _, it := range m.items {
		if it.removed {
			break
		}
		if !v.serves(it, s, into) {
			continue
		}
		switch {
		case best == nil:
			best = it
		case v.registration(it) != v.registration(best):
			return best
		case (it.derivation() == 0) == (best.derivation() == 0) && v.routes[it.rec].cost < v.routes[best.rec].cost:
			best = it
		}
	}
	return best
}

// origin returns the node that registered a function.
func (v *view) origin(it *item) nodeid.ID {
	if it.derivation() != 0 {
		return it.extra.origin
	}
	return v.routes[it.rec].targets[0].Node
}

func (v *view) registration(it *item) registration { return registration{v.origin(it), it.stamp()} }

// registered returns when an origin was registered, as far as that can be believed.
func (v *view) registered(it *item) int64 {
	if it.derivation() != 0 {
		return it.fn.Registered
	}
	return int64(max(uint64(it.fn.Registered), v.routes[it.rec].view.start))
}

// targets returns where calls for an item that pick returned may go, unless it is derived here.
func (v *view) targets(it *item, many *candidates, s scope) []Target {
	if t := v.replicas(it, many, s); len(t) > 0 {
		return t // none: another item of the same origin, with another schema as yet, leads it
	}
	return v.routes[it.rec].targets[:]
}

// replicas returns the targets of a replicated function, none if it is not one.
func (v *view) replicas(it *item, many *candidates, s scope) []Target {
	if many == nil || it.fn.Policy == PolicySingle {
		return nil
	}
	set := many.set(it.fn.Policy, s)
	if set == nil {
		return nil
	}
	return v.sets[set.id]
}

// isShadowed reports whether an item within reach does not serve because another does.
func (v *view) isShadowed(serving, it *item) bool {
	if serving == nil || it == serving || !v.serves(it, inNamespace, nil) {
		return false
	}
	if v.registration(it) == v.registration(serving) {
		return false
	}
	return it.fn.Policy == PolicySingle || it.fn.Policy != serving.fn.Policy
}

// isIncompatible reports whether an item within reach does not serve because its schema does not fit that of the
// one that leads.
func (v *view) isIncompatible(leading, it *item) bool {
	if leading == nil || it == leading || it.fn.Policy == PolicySingle || it.fn.Policy != leading.fn.Policy || !v.serves(it, inNamespace, nil) {
		return false
	}
	if v.registration(it) == v.registration(leading) {
		return false
	}
	return !it.compatibleWith(leading.fn.Schema)
}

// compatibleWith reports whether the item's function may be called where one of a schema is meant.
func (it *item) compatibleWith(schema []byte) bool {
	own := it.fn.Schema
	return len(own) == 0 || len(schema) == 0 || bytes.Equal(own, schema) ||
		slices.ContainsFunc(it.more().compatible, func(hash []byte) bool { return bytes.Equal(hash, schema) })
}

// own returns the item of a procedure that a vertex of this node serves, or nil. It may have one of
// its own and one that it passes on; the caller meant the one that is not shadowed.
func (v *view) own(rec int32, procedure string) (own *item) {
	it := v.functions.get(procedure)
	switch {
	case it == nil:
		return nil
	case it.kind != kindCandidates:
		if it.removed || it.rec != rec {
			return nil
		}
		return it
	}
	many := it.extra.candidates
	for _, it := range many.items {
		switch {
		case it.removed || it.rec != rec:
		case own == nil:
			own = it
		default:
			if first := v.first(many, inNamespace, nil); v.isShadowed(first, own) || v.isIncompatible(first, own) {
				own = it
			}
		}
	}
	return own
}
