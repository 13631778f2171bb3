package h2serve

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// BufferedHandler takes requests that are short. It belongs to one connection and one BufferedHandlers value; the connection's reader
// calls its methods, one at a time: they must not block.
type BufferedHandler interface {
	// Wants reports whether Handle is to get r, of which only the head is there, when its body is.
	Wants(r *Request) bool
	// Length returns how long r's body will be, by how it begins; 0 where that does not tell. The memory for that is
	// taken at once.
	Length(r *Request, begin []byte) int
	// Handle takes r, or reports false: then the Handler serves it. What it takes is answered by one
	// Respond, at any later time, unless it is canceled.
	Handle(r *Request) bool
	// Flush is called when the requests at hand have been handled.
	Flush()
	// Close is called once, after all else, when the connection has ended.
	Close()
}

// BufferedHandlers makes BufferedHandlers. Values are comparable.
type BufferedHandlers interface {
	// NewBufferedHandler returns a BufferedHandler for one connection. It is called when the first request comes.
	NewBufferedHandler() BufferedHandler
}

// Request is a request as a BufferedHandler sees it. Wants and Handle may read it; Respond may be called by any
// goroutine.
type Request struct {
	// Method, Scheme, Authority and Path are the pseudo headers. Path has the query.
	Method, Scheme, Authority, Path string
	// Fields are the other headers, with names in lower case.
	Fields []hpack.HeaderField
	// Body is the body, until Handle returns; where it is Owned, one who takes the request may keep it.
	Body  []byte
	Owned bool
	// Data is the BufferedHandler's own.
	Data any

	st *stream
}

// Response is what a request is answered with. Names of headers are in lower case.
type Response struct {
	// Head begins with :status. Names and values must be such that HTTP has.
	Head []hpack.HeaderField
	// Body is the body, in pieces. Respond changes the slice, and none of the pieces.
	Body [][]byte
	// Kept means that nobody changes the pieces: they need not be copied to wait for the client's windows.
	Kept bool
	// Trailer must not be empty.
	Trailer []hpack.HeaderField
}

// Conn returns the connection that r came by.
func (r *Request) Conn() *Conn { return r.st.c }

// RemoteAddr returns the client's address.
func (r *Request) RemoteAddr() net.Addr { return r.st.c.nc.RemoteAddr() }

// TLS returns the state of the connection's TLS, nil without TLS. It is not to be changed.
func (r *Request) TLS() *tls.ConnectionState { return r.st.c.tls }

// OnCancel sets what is called if the client lets go of r, or the connection ends, before Respond has been
// called: once, by any goroutine, perhaps while Respond is called. It must not block. It is set within
// Handle.
func (r *Request) OnCancel(f func()) {
	c := r.st.c
	c.mu.Lock()
	over := r.st.closedLocked()
	if !over {
		r.st.onCancel = f
	}
	c.mu.Unlock()
	if over {
		f()
	}
}

// Respond answers r, which Handle has taken: it appends the response to what the connection has to write, and
// [Conn.Flush] has it written. It does not block, nor keep anything of resp but pieces that are Kept. What the client's windows do
// not take yet is kept, and written when they do. Only the first call counts, and none once r was
// canceled.
func (r *Request) Respond(resp *Response) {
	st := r.st
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.closedLocked() || st.serving != undecided {
		return
	}
	st.serving = responded
	st.onCancel = nil
	c.state.progress = true
	if len(c.out) >= maxOutput {
		// Answers without bodies have no window to wait for. Held, they keep their streams, of which there are
		// only so many.
		st.heldResponse = &Response{Head: slices.Clone(resp.Head), Body: resp.keptBody(), Kept: true, Trailer: slices.Clone(resp.Trailer)}
		c.heldResponses = append(c.heldResponses, st)
		return
	}
	c.respondLocked(st, resp)
}

// respondLocked puts what goes of an answer, and has the rest wait.
func (c *Conn) respondLocked(st *stream, resp *Response) {
	c.putHeadersLocked(st.id, resp.Head, false)
	data, rest := c.putBodyLocked(st, resp)
	if data == nil {
		c.putHeadersLocked(st.id, resp.Trailer, true)
		c.removeStreamLocked(st)
		return
	}
	c.queuePendingLocked(st, pendingWrite{data: data, rest: rest, trailer: slices.Clone(resp.Trailer)})
}

// respondHeldLocked answers those that were held, while there is room.
func (c *Conn) respondHeldLocked() {
	for len(c.heldResponses) > 0 && len(c.out) < bulkThreshold {
		st := c.heldResponses[0]
		c.heldResponses[0], c.heldResponses = nil, c.heldResponses[1:]
		if resp := st.heldResponse; resp != nil {
			st.heldResponse = nil
			c.respondLocked(st, resp)
		}
	}
}

// keptBody returns the body to be kept.
func (r *Response) keptBody() [][]byte {
	if r.Kept {
		return slices.Clone(r.Body)
	}
	return [][]byte{bytes.Join(r.Body, nil)}
}

// putBodyLocked puts what goes of a body, and returns what is left, to be kept: data and then rest. No data is none.
func (c *Conn) putBodyLocked(st *stream, resp *Response) (data, rest []byte) {
	pieces := resp.Body
	left, from := 0, 0 // what has gone of the first piece
	for _, p := range pieces {
		left += len(p)
	}
	for left > 0 && len(c.out) < bulkThreshold {
		n := c.takeWindowLocked(st, left)
		if n == 0 {
			break
		}
		c.out = h2core.AppendFrameHeader(c.out, n, http2.FrameData, 0, st.id)
		left -= n
		for n > 0 {
			p := pieces[0][from:]
			p = p[:min(n, len(p))]
			c.out = append(c.out, p...)
			n -= len(p)
			from += len(p)
			if from == len(pieces[0]) {
				pieces, from = pieces[1:], 0
			}
		}
	}
	for left > 0 && from == len(pieces[0]) {
		pieces, from = pieces[1:], 0 // an empty one
	}
	switch {
	case left == 0:
		return nil, nil
	case resp.Kept && len(pieces) == 1:
		return pieces[0][from:], nil
	case resp.Kept && len(pieces) == 2:
		return pieces[0][from:], pieces[1]
	}
	return bytes.Join(pieces, nil)[from:], nil
}
