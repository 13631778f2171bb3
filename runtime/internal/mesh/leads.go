package mesh

import "iter"

// Leads yields the functions that can be called in a namespace or group of this node, each as [Snapshot.Lead]
// resolves it, in no order.
func (s *Snapshot) Leads(ns string) iter.Seq2[*Function, Target] {
	return func(yield func(*Function, Target) bool) {
		p := s.places[ns]
		if p == nil {
			return
		}
		for n, i := range p.members {
			for it := range s.views[i].functions.all {
				if n > 0 && s.leadsEarlier(p.members[:n], it.fn.Procedure) {
					continue
				}
				r, ok := s.resolve(s.views[i], it.fn.Procedure, inNamespace, nil, toLead)
				if !ok {
					continue
				}
				if f, t := r.lead(); !yield(f, t) {
					return
				}
			}
		}
	}
}

// leadsEarlier reports whether one of members has the procedure.
func (s *Snapshot) leadsEarlier(members []int, procedure string) bool {
	for _, i := range members {
		if _, ok := s.resolve(s.views[i], procedure, inNamespace, nil, toLead); ok {
			return true
		}
	}
	return false
}
