package h2serve

import (
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// headers takes a request, or its trailers.
func (c *Conn) headers(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	c.mu.Lock()
	if st := c.state.streams[id]; st != nil {
		c.mu.Unlock()
		return c.trailers(st, f)
	}
	switch {
	case id%2 == 0:
		c.mu.Unlock()
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "HEADERS of stream %d, which a client cannot open", id)
	case id <= c.state.lastOpened:
		wasReset := c.state.resets.Has(id)
		c.mu.Unlock()
		if wasReset {
			return c.countIdleFrame()
		}
		return h2core.ConnErrorf(http2.ErrCodeStreamClosed, "HEADERS of stream %d, which is closed", id)
	case f.HasPriority() && f.Priority.StreamDep == id:
		c.mu.Unlock()
		return c.streamError(id, http2.ErrCodeProtocol)
	}
	c.state.lastOpened = id
	if c.state.open >= c.opts.MaxStreams || c.state.drain == finalGoAwaySent {
		c.sendResetLocked(id, http2.ErrCodeRefusedStream, c.opts.StreamWindow)
		err := c.countControlLocked(h2core.FrameHeaderSize + 4)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		return c.countIdleFrame()
	}
	st := c.newStreamLocked(id)
	if f.StreamEnded() {
		c.endRemoteLocked(st)
	}
	c.mu.Unlock()
	return c.request(st, f)
}

// request takes the head of a request.
func (c *Conn) request(st *stream, f *http2.MetaHeadersFrame) error {
	head, err := h2core.ParseRequest(f)
	if err != nil {
		return c.streamError(st.id, http2.ErrCodeProtocol)
	}
	r := &st.request
	r.Method = head.Method
	r.Scheme = head.Scheme
	r.Authority = head.Authority
	r.Path = head.Path
	r.Fields = head.Fields
	st.length = head.Body
	if f.Truncated {
		c.serveStatus(st, statusTooLarge)
		return nil
	}
	if !f.StreamEnded() {
		if w := c.bufferedHandler(r); w != nil && w.Wants(r) {
			st.buffered = w
			c.reading.buffering[st.id] = st
			return nil
		}
	}
	c.serve(st)
	return nil
}

// trailers takes the HEADERS frame that ends a request.
func (c *Conn) trailers(st *stream, f *http2.MetaHeadersFrame) error {
	c.mu.Lock()
	ended := !st.state.CanReceive()
	c.mu.Unlock()
	switch {
	case ended:
		return c.streamError(st.id, http2.ErrCodeStreamClosed)
	case h2core.CheckTrailers(f) != nil || !st.length.Add(0, true):
		return c.streamError(st.id, http2.ErrCodeProtocol)
	}
	if c.reading.buffering[st.id] != nil {
		c.serveBuffered(st, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.Truncated {
		st.trailer = f.Fields
	}
	c.endRemoteLocked(st)
	if st.closedLocked() {
		c.removeStreamLocked(st)
	}
	st.cond.Broadcast()
	return nil
}
