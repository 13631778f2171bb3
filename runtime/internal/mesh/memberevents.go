package mesh

import (
	"maps"
	"slices"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// memberChange is what became of a node's records.
type memberChange struct {
	r       *record // one of them that came, went or changed
	before  int     // how many were in reach
	changed bool
}

// memberEvents emits an event for each member that came, went or changed.
func (d *domain) memberEvents() {
	nodes := map[nodeid.ID]*memberChange{}
	for _, r := range d.records {
		if r != nil && r.node != d.core.cfg.ID {
			d.countMember(r, nodes)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(nodes), nodeid.ID.Compare) {
		d.emitMember(id, nodes[id])
	}
}

// countMember notes whether a record came, went or changed.
func (d *domain) countMember(r *record, nodes map[nodeid.ID]*memberChange) {
	p := &r.path
	was, is := p.counted, p.reached && !r.leaving()
	changed := was && is && p.countedView != r.view && !p.countedView.same(r.view)
	p.counted, p.countedView = is, r.view
	if was == is && !changed {
		return
	}
	t := nodes[r.node]
	if t == nil {
		t = &memberChange{before: d.present[r.node]}
		nodes[r.node] = t
	}
	t.r, t.changed = r, t.changed || changed
	switch {
	case is && !was:
		d.present[r.node]++
	case was && !is:
		d.present[r.node]--
	}
}

// emitMember emits the event of one member, if there is one.
func (d *domain) emitMember(id nodeid.ID, t *memberChange) {
	e := Event{Node: id, Name: t.r.name()}
	switch now := d.present[id]; {
	case t.before == 0 && now > 0:
		e.Kind = MemberJoined
	case t.before > 0 && now == 0:
		delete(d.present, id)
		e.Kind, e.Cause = MemberLost, t.r.departure()
		if t.r.leaving() {
			e.Kind = MemberLeft
		}
	case t.changed:
		e.Kind = MemberChanged
	default:
		return
	}
	d.emit(e)
}

// departure says why a member went.
func (r *record) departure() string {
	if r.leaving() || r.path.lost == nil {
		return r.name() + " left"
	}
	return r.path.lost.cause
}

// same reports whether members would see no difference in what a node says of itself and its links.
func (s *memberView) same(o *memberView) bool {
	return s.inc == o.inc && s.ext.info == o.ext.info && slices.Equal(s.neighbours, o.neighbours)
}

// emit adds an event of each namespace of the domain.
func (d *domain) emit(e Event) {
	for _, ns := range d.namespaces {
		e.Namespace = ns
		d.core.events = append(d.core.events, e)
	}
}
