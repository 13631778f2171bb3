package mesh

import "time"

// route is how a vertex is reached, as snapshots have it.
type route struct {
	shown   *shown // nil: there is no such vertex
	targets [1]Target
	cost    uint64
	before  int32 // the lead of the site before on the path; none: it is the first
	lost    *loss
}

// shown is what is shown of a member.
type shown struct {
	vertex
	name       string
	inc, start uint64
	about      *extra
	leaving    bool
	neighbours []Neighbour
}

// reroute finds all routes anew and takes note of what came into reach and what went out of it.
func (d *database) reroute(now time.Time) {
	d.findEdges()
	d.findSites()
	s := d.search()
	old := d.routes
	d.turn++
	d.routes, d.reached = make([]*route, len(d.records)), make([]bool, len(d.records))
	if d.renamed {
		d.vertices = make(map[vertex]int32, len(d.records))
	}
	var gained, lost []*record
	for _, r := range d.records {
		if r == nil {
			continue
		}
		if d.renamed {
			d.vertices[r.vertex] = r.idx
		}
		f := s.found[r.path.lead]
		switch was := r.path.reached; {
		case f.known && !was:
			gained = append(gained, r)
		case !f.known && was:
			lost = append(lost, r)
		}
		r.path.reached, d.reached[r.idx] = f.known, f.known
	}
	d.lose(now, lost, old)
	d.setRoutes(s, old)
	d.findBranches()
	d.gain(gained)
	d.census()
	d.sets.sort(d)
	d.wakeAsked()
	d.wakeClaims()
	d.moved, d.renamed, d.changed = false, false, true
	if len(gained)+len(lost) > 0 {
		d.disputed = true
		d.stir()
	}
}

// setRoutes makes the routes by what was found. Those that are as before are kept.
func (d *database) setRoutes(s *search, old []*route) {
	for _, r := range d.records {
		if r == nil {
			continue
		}
		now := d.route(r, s.found[r.path.lead])
		if int(r.idx) < len(old) && old[r.idx] != nil && *old[r.idx] == now {
			d.routes[r.idx] = old[r.idx]
			continue
		}
		fresh := now // only this one is to take memory
		d.routes[r.idx] = &fresh
	}
}

// route is the route to a record by what was found.
func (d *database) route(r *record, f found) route {
	if r.shown == nil {
		r.shown = d.show(r)
	}
	if !f.known {
		return route{shown: r.shown, before: none, lost: r.path.lost}
	}
	t := Target{Node: r.node, Name: r.shown.name, Namespace: r.ns, Hops: int(f.hops)}
	if f.via == nil {
		t.Local = true
	} else {
		t.Link, t.LinkNamespace = f.via.link.id, f.via.name
	}
	return route{shown: r.shown, targets: [1]Target{t}, cost: f.cost, before: f.before}
}

func (d *database) show(r *record) *shown {
	s := &shown{vertex: r.vertex, name: r.name(), inc: r.inc, start: r.start, about: &noExtra, leaving: r.leaving()}
	if r.about != nil {
		s.about = r.about.extra
	}
	for _, e := range r.path.edges {
		s.neighbours = append(s.neighbours, Neighbour{ID: e.to.node, Cost: e.cost})
	}
	return s
}

// lose notes why records went out of reach, by the routes before.
func (d *database) lose(now time.Time, lost []*record, old []*route) {
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
			if r.fell != "" {
				l.cause += ": " + r.fell
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
		d.touchAll(r, false, r.path.lost.cause)
		d.askAround(r)
	}
}

// gain lets the links tell of records that came into reach.
func (d *database) gain(gained []*record) {
	for _, r := range gained {
		p := &r.path
		p.until = time.Time{}
		if p.lost != nil && p.lost.cause != "" {
			p.until = p.lost.at
		}
		p.lost, p.gained, p.since = nil, d.turn, d.core.now
		if d.company.IsZero() && !d.isOwn(r) {
			d.company = d.core.now
		}
		d.touchAll(r, true, "")
		for _, l := range d.links {
			l.enqueue(r)
		}
	}
}

// touchAll notes that all functions of a record came or went.
func (d *database) touchAll(r *record, added bool, cause string) {
	if len(d.groups) == 0 && d.watchers == 0 {
		return
	}
	for _, e := range r.feed {
		if it := e.it; it.kind == kindFunction && !it.stale && !it.removed {
			d.touched[it.fn.Procedure] = append(d.touched[it.fn.Procedure], touch{it, added, cause})
		}
	}
}
