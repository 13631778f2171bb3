package link

// maxFree bounds how many things of a kind are kept for later calls.
const maxFree = 1024

// freeList holds things that are kept to be used again.
type freeList[T any] struct {
	list   []T
	minLen int // the least number of them since the last trim
}

// get returns one, if there is any.
func (s *freeList[T]) get() (v T, ok bool) {
	last := len(s.list) - 1
	if last < 0 {
		return v, false
	}
	v, s.list[last] = s.list[last], v
	s.list = s.list[:last]
	s.minLen = min(s.minLen, last)
	return v, true
}

// put keeps v, unless there are enough.
func (s *freeList[T]) put(v T) {
	if len(s.list) < maxFree {
		s.list = append(s.list, v)
	}
}

// trim drops what was not needed since the last trim.
func (s *freeList[T]) trim() {
	left := len(s.list) - s.minLen
	clear(s.list[left:])
	s.list = s.list[:left]
	if left == 0 {
		s.list = nil
	}
	s.minLen = left
}
