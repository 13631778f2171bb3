package h2core

// maxRecentResets is how many streams a ResetStreams remembers.
const maxRecentResets = 128

// ResetStreams remembers which streams this end has reset lately: of those the peer may have sent frames before it
// knew, which are ignored (RFC 9113 section 5.4.2).
type ResetStreams struct {
	recent []resetStream
	next   int // the oldest, once there are maxRecentResets
}

type resetStream struct {
	id     uint32
	unread int // how much DATA of it may still come
}

// Add notes that a stream has been reset of which the peer may have sent that much DATA that has not come yet.
func (r *ResetStreams) Add(id uint32, window int) {
	s := resetStream{id: id, unread: window}
	if len(r.recent) < maxRecentResets {
		r.recent = append(r.recent, s)
		return
	}
	r.recent[r.next] = s
	r.next = (r.next + 1) % maxRecentResets
}

// Has reports whether the stream is remembered.
func (r *ResetStreams) Has(id uint32) bool { return r.find(id) != nil }

// TakeData counts n bytes of DATA of a stream, and reports whether they can have been sent before the peer knew that
// the stream was reset.
func (r *ResetStreams) TakeData(id uint32, n int) bool {
	s := r.find(id)
	if s == nil || n > s.unread {
		return false
	}
	s.unread -= n
	return true
}

func (r *ResetStreams) find(id uint32) *resetStream {
	for i := range r.recent {
		if r.recent[i].id == id {
			return &r.recent[i]
		}
	}
	return nil
}
