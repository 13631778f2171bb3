package mesh

import "fmt"

func (x *chaos) invariant() string {
	for _, n := range x.c.nodes {
		for _, d := range n.core.databases {
			for _, r := range d.records {
				if r == nil {
					continue
				}
				for _, o := range x.c.nodes {
					if o.core.cfg.ID != r.node || o.core.inc != r.inc {
						continue
					}
					s := o.core.spaces[r.ns]
					if s == nil {
						continue
					}
					if r.version > s.own.version {
						return fmt.Sprintf("%s has %s/%s at %d > %d", n.name, r.name(), r.ns, r.version, s.own.version)
					}
					for _, e := range s.own.feed {
						if e.it.stale || e.it.removed || e.it.version > r.version {
							continue
						}
						var m *item
						switch e.it.kind {
						case kindFunction:
							m = r.named(e.it)[e.it.fn.Procedure]
						case kindBridge:
							m = r.bridges[e.it.extra.bridge]
						case kindNeighbour:
							m = r.neighbours[e.it.extra.neighbour]
						default:
							continue
						}
						if m == nil || m.version != e.version {
							return fmt.Sprintf("%s %v has %s/%s at %d floor %d without %d: %v\nown %v", n.name, d.names, r.name(), r.ns, r.version, r.floor, e.version, r, s.own)
						}
					}
				}
			}
		}
	}
	return ""
}
