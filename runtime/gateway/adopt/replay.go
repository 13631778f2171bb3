package adopt

import (
	"context"
	"io"
	"net/http"
	"sync"
)

// maxReplay bounds, in bytes, what is kept of a stream of requests for being sent again.
const maxReplay = 64 << 10

// source is the body of a streaming request, which may be sent once more: on another connection, where the server
// has let the first one go before it came to the request. It keeps what was read for that, as long as there is no
// response and it is not too long.
type source struct {
	ctx context.Context //nolint:containedctx // the call's

	mu      sync.Mutex
	cond    sync.Cond
	from    io.ReadCloser
	kept    []byte // from the beginning, or once that is not needed any more, what is still to be read
	start   int    // where in the body kept begins
	once    bool   // there is no other attempt than the current one
	current *attempt
	reading bool  // somebody reads the field from
	err     error // what that ended by
}

func newSource(ctx context.Context, from io.ReadCloser) *source {
	s := &source{ctx: ctx, from: from}
	s.cond.L = &s.mu
	return s
}

// attempt returns the body for one more request, from the beginning.
func (s *source) attempt() io.ReadCloser {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = &attempt{source: s}
	return s.current
}

// repeatable reports whether the body may be had from the beginning.
func (s *source) repeatable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.once
}

// release says that there will be no other attempt: the source ends with this one.
func (s *source) release() {
	s.mu.Lock()
	s.once = true
	s.dropLocked(s.current.at)
	over := s.current.closed
	s.mu.Unlock()
	if over {
		_ = s.Close() // fails as the next Read does
	}
}

// Close ends the source, and with it the reading of all attempts.
func (s *source) Close() error {
	err := s.from.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = io.ErrClosedPipe
	}
	s.cond.Broadcast()
	return err
}

// fill reads more for an attempt, on a goroutine of its own, which ends with the source: an attempt that is closed does
// not wait for it.
func (s *source) fill() {
	b := make([]byte, 16<<10)
	n, err := s.from.Read(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	s.kept = append(s.kept, b[:n]...)
	s.noteLocked(err)
}

// readOn reads what no other attempt will want.
func (s *source) readOn(p []byte) int {
	n, err := s.from.Read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	s.start += n
	s.noteLocked(err)
	if s.ctx.Err() != nil {
		return 0
	}
	s.current.at += n
	return n
}

// noteLocked takes what reading has ended by. Once the call is given up its body has no end: one would tell the server
// that all has been sent.
func (s *source) noteLocked(err error) {
	if s.err == nil {
		s.err = err
	}
	if ended := s.ctx.Err(); ended != nil {
		s.err = ended
	}
	s.cond.Broadcast()
}

// attempt is one reading of a source.
type attempt struct {
	source *source
	at     int // in the body
	closed bool
}

func (a *attempt) Read(p []byte) (int, error) {
	for {
		n, mayReadOn, err := a.readKept(p)
		if mayReadOn {
			n = a.source.readOn(p)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// readKept reads what was read before, or waits for it. It reports mayReadOn where the attempt is to read what comes
// next itself.
func (a *attempt) readKept(p []byte) (n int, mayReadOn bool, err error) {
	s := a.source
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		rest := s.kept[min(max(a.at-s.start, 0), len(s.kept)):]
		switch {
		case a.closed:
			return 0, false, io.ErrClosedPipe
		case s.ctx.Err() != nil:
			return 0, false, s.ctx.Err()
		case len(rest) > 0:
			n = copy(p, rest)
			a.at += n
			s.dropLocked(a.at)
			return n, false, nil
		case s.err != nil:
			return 0, false, s.err
		case s.reading:
			s.cond.Wait()
		case !s.once:
			s.reading = true
			go s.fill()
		case s.current != a:
			return 0, false, io.ErrClosedPipe
		default:
			s.reading = true
			return 0, true, nil
		}
	}
}

// dropLocked lets go of what is not needed, once the body has been read up to there.
func (s *source) dropLocked(read int) {
	s.once = s.once || read > maxReplay
	if s.once {
		s.kept = append(s.kept[:0], s.kept[read-s.start:]...)
		s.start = read
	}
}

// Close ends the source too, where there will be no other attempt.
func (a *attempt) Close() error {
	s := a.source
	s.mu.Lock()
	a.closed = true
	over := s.once && s.current == a
	s.cond.Broadcast()
	s.mu.Unlock()
	if !over {
		return nil
	}
	return s.Close()
}

// sendStream sends a request whose body is a stream, and once more where the server has not begun with it.
func sendStream(client *http.Client, req *http.Request) (*http.Response, error) {
	from := newSource(req.Context(), req.Body)
	// HTTP/2's client does not see the context end while it waits for more of a stream's body.
	context.AfterFunc(req.Context(), func() { _ = from.Close() })
	send := func() (*http.Response, error) {
		again := req.WithContext(req.Context())
		again.Body = from.attempt()
		return sendOnce(client, again)
	}
	res, err := send()
	if err != nil && req.Context().Err() == nil && isUnprocessed(err) && from.repeatable() {
		res, err = send()
	}
	from.release()
	if err != nil {
		_ = from.Close() // it is nobody's any more
	}
	return res, err
}
