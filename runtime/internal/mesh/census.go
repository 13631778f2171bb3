package mesh

import (
	"maps"
	"slices"
)

// turnover is what became of a node's records.
type turnover struct {
	r       *record // one of them that came, went or changed
	before  int     // how many were in reach
	changed bool
}

// census tells of members that came, went and changed.
func (d *database) census() {
	nodes := map[NodeID]*turnover{}
	for _, r := range d.records {
		if r != nil && r.node != d.core.cfg.ID {
			d.count(r, nodes)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(nodes), NodeID.compare) {
		d.announce(id, nodes[id])
	}
}

// count notes whether a record came, went or changed.
func (d *database) count(r *record, nodes map[NodeID]*turnover) {
	p := &r.path
	was, is := p.counted, p.reached && !r.leaving()
	changed := was && is && p.last != r.shown && !p.last.same(r.shown)
	p.counted, p.last = is, r.shown
	if was == is && !changed {
		return
	}
	t := nodes[r.node]
	if t == nil {
		t = &turnover{before: d.present[r.node]}
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

// announce tells what became of a member.
func (d *database) announce(id NodeID, t *turnover) {
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

// same reports whether members would see no difference in what a node tells of itself and its links.
func (s *shown) same(o *shown) bool {
	return s.inc == o.inc && s.about.info == o.about.info && slices.Equal(s.neighbours, o.neighbours)
}

// emit adds an event of each namespace of the database.
func (d *database) emit(e Event) {
	for _, ns := range d.names {
		e.Namespace = ns
		d.core.events = append(d.core.events, e)
	}
}
