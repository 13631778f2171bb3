package mesh

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// candidates are several items of one procedure.
type candidates struct {
	items []*item // those to be taken first first, the removed ones last
	sets  []*replicaSet
}

// origin returns the node that registered a function.
func (d *domain) origin(it *item) nodeid.ID {
	if it.derivation() != 0 {
		return it.extra.origin
	}
	return d.records[it.rec].node
}

// boolCompare orders false before true.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// scope says which candidates count.
type scope uint8

const (
	inNamespace scope = iota // all
	towardGroup              // those that may go up into a group: not what came up into one
	fromGroup                // those that may go down into a group's members: the origins' own
)

func (s scope) has(it *item) bool {
	switch s {
	case towardGroup:
		return it.derivation() != up
	case fromGroup:
		return it.derivation() == 0
	default:
		return true
	}
}

// newCandidates makes the index's item for several of one procedure.
func (d *domain) newCandidates(procedure string, items []*item) *item {
	m := &candidates{items: items}
	for _, it := range items {
		if it.removed {
			break
		}
		if p := it.fn.Policy; p != PolicySingle && m.set(p, inNamespace) == nil {
			for s := inNamespace; s <= fromGroup; s++ {
				m.sets = append(m.sets, d.sets.of(d, items, p, s))
			}
		}
	}
	return &item{kind: kindCandidates, fn: Function{Procedure: procedure}, extra: &extra{candidates: m}}
}

// set returns the set of those with a policy, or nil.
func (m *candidates) set(p Policy, s scope) *replicaSet {
	for i := 0; i < len(m.sets); i += int(fromGroup) + 1 {
		if m.sets[i].policy == p {
			return m.sets[i+int(s)]
		}
	}
	return nil
}

// replicaSet is the origins of replicated functions that all have the same ones. It is shared among
// these, so that a change of routes costs one sorting for all of them.
type replicaSet struct {
	id      int32
	uses    int
	key     string
	policy  Policy
	members []replica
}

// replica is an origin in a replicaSet.
type replica struct {
	rec        int32
	derived    bool
	here       bool // derived here: it may lead, but calls for it are resolved by the group
	origin     nodeid.ID
	schema     int32   // one for each among the set's; 0: unknown, or there is but one
	compatible []int32 // the others of them that it can stand in for
}

// compatibleWith reports whether the origin may serve beside the one that leads.
func (m *replica) compatibleWith(lead *replica) bool {
	return m.schema == lead.schema || m.schema == 0 || lead.schema == 0 || slices.Contains(m.compatible, lead.schema)
}

// appendKey appends all in which sets differ.
func (m *replica) appendKey(key []byte) []byte {
	key = binary.LittleEndian.AppendUint32(key, uint32(m.rec))
	key = append(key, m.origin[:]...)
	if m.here {
		key = append(key, 1)
	}
	if m.schema == 0 {
		return key
	}
	key = binary.LittleEndian.AppendUint32(append(key, 2), uint32(m.schema))
	for _, other := range m.compatible {
		key = binary.LittleEndian.AppendUint32(append(key, 3), uint32(other))
	}
	return key
}

// replicaSets are those of a domain.
type replicaSets struct {
	byKey   map[string]*replicaSet
	byID    []*replicaSet
	unused  []int32 // ids that no snapshot of these routes knows
	retired []int32 // ids that one may know
	// targets are the sets' as the routes are now, by id. Snapshots share the array: what is in it
	// stays as it is, until sort makes another.
	targets [][]Target
}

// replicas returns those of items that are in the scope and have the policy.
func (d *domain) replicas(items []*item, p Policy, sc scope) []replica {
	var counted []*item
	for _, it := range items {
		if !it.removed && it.fn.Policy == p && sc.has(it) {
			counted = append(counted, it)
		}
	}
	numbers := numberSchemas(counted)
	members := make([]replica, 0, len(counted))
	for _, it := range counted {
		m := replica{rec: it.rec, derived: it.derivation() != 0, here: it.more().group != nil, origin: d.origin(it)}
		if numbers != nil {
			m.schema = numbers[string(it.fn.Schema)]
			for _, hash := range it.more().compatible {
				if n := numbers[string(hash)]; n != 0 {
					m.compatible = append(m.compatible, n)
				}
			}
		} else if m.here {
			continue
		}
		members = append(members, m)
	}
	return members
}

// numberSchemas gives each schema a number, in order; none where there is but one, as mostly.
func numberSchemas(items []*item) (numbers map[string]int32) {
	var first []byte
	for _, it := range items {
		switch schema := it.fn.Schema; {
		case len(schema) == 0:
		case first == nil:
			first = schema
		case numbers == nil && bytes.Equal(schema, first):
		case numbers == nil:
			numbers = map[string]int32{string(first): 1, string(schema): 2}
		case numbers[string(schema)] == 0:
			numbers[string(schema)] = int32(len(numbers) + 1)
		}
	}
	return numbers
}

// of returns the set of those items in the scope that have the policy.
func (s *replicaSets) of(d *domain, items []*item, p Policy, sc scope) *replicaSet {
	members := d.replicas(items, p, sc)
	key := []byte{byte(p)}
	for i := range members {
		key = members[i].appendKey(key)
	}
	if set := s.byKey[string(key)]; set != nil {
		set.uses++
		return set
	}
	set := &replicaSet{uses: 1, key: string(key), policy: p, members: members}
	s.byKey[set.key] = set
	if n := len(s.unused); n > 0 {
		set.id, s.unused = s.unused[n-1], s.unused[:n-1]
		s.byID[set.id] = set
		s.targets[set.id] = d.sortedTargets(set)
		return set
	}
	set.id = int32(len(s.byID))
	s.byID = append(s.byID, set)
	s.targets = append(s.targets, d.sortedTargets(set))
	return set
}

func (s *replicaSets) release(m *candidates) {
	for _, set := range m.sets {
		set.uses--
		if set.uses == 0 {
			delete(s.byKey, set.key)
			s.byID[set.id] = nil
			s.retired = append(s.retired, set.id)
		}
	}
}

// sort sorts all sets' targets by new routes.
func (s *replicaSets) sort(d *domain) {
	s.unused = append(s.unused, s.retired...)
	s.retired = nil
	s.targets = make([][]Target, len(s.byID))
	for i, set := range s.byID {
		if set != nil {
			s.targets[i] = d.sortedTargets(set)
		}
	}
}

// sortedTargets returns the targets of a set within reach that fit the first of these, nearest first, each origin
// once. What is derived here is left out: calls for it are resolved by the group.
func (d *domain) sortedTargets(set *replicaSet) []Target {
	in := make([]replica, 0, len(set.members))
	var lead *replica
	for i := range set.members {
		m := &set.members[i]
		if int(m.rec) >= len(d.reached) || !d.reached[m.rec] {
			continue
		}
		if lead == nil {
			lead = m
		}
		if !m.here && m.compatibleWith(lead) {
			in = append(in, *m)
		}
	}
	slices.SortStableFunc(in, func(a, b replica) int {
		return cmp.Or(
			boolCompare(a.derived, b.derived),
			cmp.Compare(d.routes[a.rec].cost, d.routes[b.rec].cost),
			d.records[a.rec].compare(d.records[b.rec].vertex),
		)
	})
	seen := make(map[nodeid.ID]bool, len(in))
	in = slices.DeleteFunc(in, func(m replica) bool {
		dup := seen[m.origin]
		seen[m.origin] = true
		return dup
	})
	slices.SortStableFunc(in, func(a, b replica) int {
		return cmp.Compare(d.routes[a.rec].cost, d.routes[b.rec].cost)
	})
	targets := make([]Target, len(in))
	for i, m := range in {
		targets[i] = d.routes[m.rec].targets[0]
	}
	return targets
}
