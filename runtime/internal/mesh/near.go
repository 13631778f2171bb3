package mesh

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

const (
	// maxNear is how many names are offered for one that is none.
	maxNear = 3
	// maxEdits is by how many letters a name may be off.
	maxEdits = 4
	// maxCompared bounds how many names are compared with one.
	maxCompared = 1 << 17
)

// Near returns the procedures that can be called in a namespace or group and are spelled most like one, a few at
// most: those that differ in their package or in the case of letters, and those that are a few letters off. It
// looks at every function there.
func (s *Snapshot) Near(ns, procedure string) []string {
	p := s.places[ns]
	if p == nil || len(procedure) > maxProcedure {
		return nil
	}
	w := speller{name: procedure, lower: strings.ToLower(procedure)}
	found := map[string]int{}
	compared := 0
	for _, i := range p.members {
		for it := range s.views[i].functions.all {
			compared++
			if compared > maxCompared {
				break
			}
			d, near := w.distance(it.fn.Procedure)
			if !near {
				continue
			}
			if _, callable := s.Find(ns, it.fn.Procedure); callable {
				found[it.fn.Procedure] = d
			}
		}
	}
	near := slices.SortedFunc(maps.Keys(found), func(a, b string) int {
		return cmp.Or(cmp.Compare(found[a], found[b]), cmp.Compare(a, b))
	})
	return near[:min(len(near), maxNear)]
}

// Elsewhere returns the other namespaces and groups of this node in which a procedure can be called, sorted.
func (s *Snapshot) Elsewhere(ns, procedure string) (others []string) {
	for name := range s.places {
		if name == ns {
			continue
		}
		if _, ok := s.Find(name, procedure); ok {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return others
}

// speller compares a name with others.
type speller struct {
	name, lower string
	row, next   []int
}

// distance returns how far another name is from this one, and false where it is another name altogether.
func (w *speller) distance(other string) (int, bool) {
	most := min(maxEdits, len(w.name)/5)
	if by := len(other) - len(w.name); by <= most && -by <= most {
		if strings.EqualFold(other, w.name) {
			return 0, true
		}
		if d := w.edits(other, most); d <= most {
			return d, true
		}
	}
	if strings.EqualFold(withoutPackage(other), withoutPackage(w.name)) {
		return maxEdits, true
	}
	return 0, false
}

// withoutPackage returns "Service/Method" of "/pkg.Service/Method".
func withoutPackage(procedure string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	service = service[strings.LastIndexByte(service, '.')+1:]
	return service + "/" + method
}

// edits is the Levenshtein distance of another name, whatever the case of letters, or more than most where it is
// that.
func (w *speller) edits(other string, most int) int {
	name := w.lower
	for name != "" && other != "" && name[0] == lowerOf(other[0]) {
		name, other = name[1:], other[1:]
	}
	for name != "" && other != "" && name[len(name)-1] == lowerOf(other[len(other)-1]) {
		name, other = name[:len(name)-1], other[:len(other)-1]
	}
	w.row, w.next = w.row[:0], slices.Grow(w.next[:0], len(other)+1)[:len(other)+1]
	for j := range len(other) + 1 {
		w.row = append(w.row, j)
	}
	for i := range len(name) {
		w.next[0] = i + 1
		best := w.next[0]
		for j := range len(other) {
			change := w.row[j]
			if name[i] != lowerOf(other[j]) {
				change++
			}
			w.next[j+1] = min(change, w.row[j+1]+1, w.next[j]+1)
			best = min(best, w.next[j+1])
		}
		if best > most {
			return best
		}
		w.row, w.next = w.next, w.row
	}
	return w.row[len(other)]
}

func lowerOf(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		b += 'a' - 'A'
	}
	return b
}
