package link

// maxSpare bounds how many things of a kind are kept for later calls.
const maxSpare = 1024

// spares are things that are kept to be used again.
type spares[T any] struct {
	list  []T
	least int // the least number of them since the last trim
}

// take returns one, if there is any.
func (s *spares[T]) take() (v T, ok bool) {
	last := len(s.list) - 1
	if last < 0 {
		return v, false
	}
	v, s.list[last] = s.list[last], v
	s.list = s.list[:last]
	s.least = min(s.least, last)
	return v, true
}

// put keeps v, if there are not enough.
func (s *spares[T]) put(v T) {
	if len(s.list) < maxSpare {
		s.list = append(s.list, v)
	}
}

// trim lets go of what was not needed since the last time.
func (s *spares[T]) trim() {
	left := len(s.list) - s.least
	clear(s.list[left:])
	if s.list = s.list[:left]; left == 0 {
		s.list = nil
	}
	s.least = left
}
