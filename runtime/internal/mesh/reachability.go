package mesh

import "time"

// route is how a vertex is reached, as snapshots have it.
type route struct {
	view    *memberView // nil: there is no such vertex
	targets [1]Target
	cost    uint64
	before  int32 // the lead of the site before on the path; none: it is the first
	lost    *loss
}

// memberView is what is shown of a member.
type memberView struct {
	vertex
	name       string
	inc, start uint64
	ext        *extra
	leaving    bool
	neighbours []Neighbour
}

// recomputeRoutes finds all routes anew and takes note of what came into reach and what went out of it.
func (d *domain) recomputeRoutes(now time.Time) {
	d.findEdges()
	d.findSites()
	s := d.shortestPaths()
	old := d.routes
	d.routingRun++
	d.routes, d.reached = make([]*route, len(d.records)), make([]bool, len(d.records))
	if d.indexesDirty {
		d.vertices = make(map[vertex]int32, len(d.records))
	}
	var gained, lost []*record
	for _, r := range d.records {
		if r == nil {
			continue
		}
		if d.indexesDirty {
			d.vertices[r.vertex] = r.idx
		}
		f := s.found[r.path.lead]
		switch was := r.path.reached; {
		case f.reached && !was:
			gained = append(gained, r)
		case !f.reached && was:
			lost = append(lost, r)
		}
		r.path.reached, d.reached[r.idx] = f.reached, f.reached
	}
	d.noteLost(now, lost, old)
	d.setRoutes(s, old)
	d.findBranches()
	d.noteReached(gained)
	d.memberEvents()
	d.sets.sort(d)
	d.markAcksPending()
	d.markClaimsPending()
	d.routesDirty, d.indexesDirty, d.functionsChanged = false, false, true
	if len(gained)+len(lost) > 0 {
		d.conflictsChanged = true
		d.markConflictsDirty()
	}
}

// setRoutes makes the routes by what was found. Those that are as before are kept.
func (d *domain) setRoutes(s *search, old []*route) {
	for _, r := range d.records {
		if r == nil {
			continue
		}
		now := d.routeTo(r, s.found[r.path.lead])
		if int(r.idx) < len(old) && old[r.idx] != nil && *old[r.idx] == now {
			d.routes[r.idx] = old[r.idx]
			continue
		}
		fresh := now // only this one is to take memory
		d.routes[r.idx] = &fresh
	}
}

// routeTo is the route to a record by what was found.
func (d *domain) routeTo(r *record, f found) route {
	if r.view == nil {
		r.view = d.memberViewOf(r)
	}
	if !f.reached {
		return route{view: r.view, before: none, lost: r.path.lost}
	}
	t := Target{Node: r.node, Name: r.view.name, Namespace: r.ns, Hops: int(f.hops)}
	if f.via == nil {
		t.Local = true
	} else {
		t.Link, t.LinkNamespace = f.via.link.id, f.via.name
	}
	return route{view: r.view, targets: [1]Target{t}, cost: f.cost, before: f.before}
}

func (d *domain) memberViewOf(r *record) *memberView {
	s := &memberView{vertex: r.vertex, name: r.name(), inc: r.inc, start: r.start, ext: &noExtra, leaving: r.leaving()}
	if r.about != nil {
		s.ext = r.about.extra
	}
	for _, e := range r.path.edges {
		s.neighbours = append(s.neighbours, Neighbour{ID: e.to.node, Cost: e.cost})
	}
	return s
}

// noteLost notes why records went out of reach, by the routes before.
func (d *domain) noteLost(now time.Time, lost []*record, old []*route) {
	known := map[int32]*loss{}
	var of func(r *record) *loss
	of = func(r *record) *loss {
		if l := known[r.path.lead]; l != nil {
			return l
		}
		var l *loss
		switch before := old[r.idx].before; {
		case r.leaving():
			l = &loss{now, r.name() + " left"}
		case before == none || d.records[before] == nil || d.isOwn(d.records[before]):
			l = &loss{now, "the link to " + r.name() + " fell"}
			if r.linkDownCause != "" {
				l.cause += ": " + r.linkDownCause
			}
		case !d.records[before].path.reached:
			l = of(d.records[before])
		default:
			l = &loss{now, "the link from " + d.records[before].name() + " to " + r.name() + " fell"}
		}
		known[r.path.lead] = l
		return l
	}
	for _, r := range lost {
		r.path.lost = of(r)
		d.noteAllOrigins(r, false, r.path.lost.cause)
		d.requestFromAll(r)
	}
}

// noteReached has the links send the records that came into reach.
func (d *domain) noteReached(gained []*record) {
	for _, r := range gained {
		p := &r.path
		p.reachedUntil = time.Time{}
		if p.lost != nil && p.lost.cause != "" {
			p.reachedUntil = p.lost.at
		}
		p.lost, p.reachedRun, p.reachedSince = nil, d.routingRun, d.core.now
		if d.companySince.IsZero() && !d.isOwn(r) {
			d.companySince = d.core.now
		}
		d.noteAllOrigins(r, true, "")
		for _, l := range d.links {
			l.enqueue(r)
		}
	}
}

// noteAllOrigins notes that all functions of a record came or went.
func (d *domain) noteAllOrigins(r *record, added bool, cause string) {
	if len(d.groups) == 0 && d.watchers == 0 {
		return
	}
	for _, e := range r.changes {
		if it := e.it; it.kind == kindFunction && !it.superseded && !it.removed {
			d.originChanges[it.fn.Procedure] = append(d.originChanges[it.fn.Procedure], originChange{it, added, cause})
		}
	}
}
