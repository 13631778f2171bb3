package mesh

import (
	"cmp"
	"slices"
	"time"
)

// pathState is what a record has for finding paths.
type pathState struct {
	edges        []edge // to neighbours, each listing the other; sorted by neighbour
	edgesDirty   bool   // edges are to be found again
	reached      bool
	lost         *loss       // while it is not reached
	reachedRun   uint64      // in which turn it came into reach
	reachedSince time.Time   // when that was
	reachedUntil time.Time   // until when it had been in reach before; zero: never
	counted      bool        // in domain.present
	countedView  *memberView // as it was then
	// A site is all vertices of a node that bridges join; lead is the one with the first namespace.
	lead int32
	next *record // in the site; nil: it is the last
}

// edge is a link as its end lists it.
type edge struct {
	to   *record
	cost uint32
}

// loss says when and why a vertex went out of reach.
type loss struct {
	at    time.Time
	cause string // empty: it never was in reach
}

// findEdges finds the edges of the records anew of which some may have changed.
func (d *domain) findEdges() {
	for _, r := range d.edgesDirty {
		r.path.edgesDirty = false
		var edges []edge
		for id, it := range r.neighbours {
			if o := d.byVertex[vertex{id, r.ns}]; o != nil && o != r && r.listsNeighbour(o) && o.listsNeighbour(r) {
				edges = append(edges, edge{o, it.extra.cost})
			}
		}
		slices.SortFunc(edges, func(a, b edge) int { return a.to.compare(b.to.vertex) })
		if !slices.Equal(edges, r.path.edges) {
			r.path.edges, r.view = edges, nil
		}
	}
	d.edgesDirty = nil
}

// findSites joins the records that bridges join.
func (d *domain) findSites() {
	for _, r := range d.records {
		if r != nil {
			r.path.lead, r.path.next = r.idx, nil
		}
	}
	for _, r := range d.records {
		if r == nil || len(r.bridges) == 0 || r.path.lead != r.idx || r.path.next != nil {
			continue
		}
		site := []*record{r}
		for i := 0; i < len(site); i++ {
			for ns := range site[i].bridges {
				o := d.byVertex[vertex{r.node, ns}]
				if o != nil && o.is(r.process) && site[i].listsBridge(ns) && o.listsBridge(site[i].ns) && !slices.Contains(site, o) {
					site = append(site, o)
				}
			}
		}
		slices.SortFunc(site, func(a, b *record) int { return cmp.Compare(a.ns, b.ns) })
		for i, s := range site {
			s.path.lead = site[0].idx
			if i+1 < len(site) {
				s.path.next = site[i+1]
			}
		}
	}
}

// search is Dijkstra's algorithm over the sites of a domain. Of several cheapest paths it takes
// the one with the fewest links, and of these the one whose nodes come first in order, compared
// from this end on. The rest of that one is what the next node takes too, so the path that is shown
// is the path that a call takes.
type search struct {
	d     *domain
	found []found // by lead
	queue []step
}

// found is the path to a site.
type found struct {
	reached bool
	done    bool
	cost    uint64
	hops    int32
	before  int32       // the lead of the site before; none: this is the start
	via     *linkDomain // the first link
}

// step is a path in the queue, a binary heap.
type step struct {
	cost uint64
	hops int32
	lead int32
}

const none = -1

func (d *domain) shortestPaths() *search {
	s := &search{d: d, found: make([]found, len(d.records))}
	if len(d.ownRecords) == 0 {
		for v := range d.peers {
			if r := d.byVertex[v]; r != nil {
				l := d.bestLink(v)
				s.relax(none, found{}, edge{r, l.link.cost}, l)
			}
		}
	} else {
		start := d.ownRecords[0].path.lead
		s.found[start] = found{reached: true, done: true, before: none}
		for r := d.records[start]; r != nil; r = r.path.next {
			for _, e := range r.path.edges {
				if l := d.bestLink(e.to.vertex); l != nil {
					s.relax(start, s.found[start], e, l)
				}
			}
		}
	}
	for len(s.queue) > 0 {
		u := s.pop().lead
		f := &s.found[u]
		if f.done {
			continue
		}
		f.done = true
		for r := d.records[u]; r != nil; r = r.path.next {
			for _, e := range r.path.edges {
				s.relax(u, *f, e, f.via)
			}
		}
	}
	return s
}

// relax looks at the path that goes on from u, found by f, over e.
func (s *search) relax(u int32, f found, e edge, via *linkDomain) {
	lead := e.to.path.lead
	t := &s.found[lead]
	if t.done {
		return
	}
	n := found{reached: true, cost: f.cost + uint64(e.cost), hops: f.hops + 1, before: u, via: via}
	if t.reached {
		c := cmp.Or(cmp.Compare(n.cost, t.cost), cmp.Compare(n.hops, t.hops))
		switch {
		case c > 0:
			return
		case c == 0:
			if c = s.compare(u, t.before); c < 0 || c == 0 && via.name < t.via.name {
				*t = n
			}
			return
		}
	}
	*t = n
	s.push(step{n.cost, n.hops, lead})
}

// compare orders paths of the same length by their nodes, from the start on.
func (s *search) compare(a, b int32) int {
	if a == b {
		return 0
	}
	for s.found[a].before != s.found[b].before {
		a, b = s.found[a].before, s.found[b].before
	}
	return s.d.records[a].compare(s.d.records[b].vertex)
}

func (a step) less(b step) bool {
	return a.cost < b.cost || a.cost == b.cost && a.hops < b.hops
}

func (s *search) push(x step) {
	s.queue = append(s.queue, x)
	q := s.queue
	for i := len(q) - 1; i > 0; {
		up := (i - 1) / 2
		if !q[i].less(q[up]) {
			return
		}
		q[i], q[up] = q[up], q[i]
		i = up
	}
}

func (s *search) pop() step {
	q := s.queue
	top := q[0]
	last := len(q) - 1
	q[0] = q[last]
	q = q[:last]
	s.queue = q
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && q[child].less(q[least]) {
				least = child
			}
		}
		if least == i {
			return top
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
}
