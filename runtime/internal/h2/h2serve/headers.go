package h2serve

import (
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
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
		return connErrorf(http2.ErrCodeProtocol, "HEADERS of stream %d, which a client cannot open", id)
	case id <= c.state.lastOpened:
		was := c.recentResetLocked(id)
		c.mu.Unlock()
		if was != nil {
			return c.countIdleFrame()
		}
		return connErrorf(http2.ErrCodeStreamClosed, "HEADERS of stream %d, which is over", id)
	case f.HasPriority() && f.Priority.StreamDep == id:
		c.mu.Unlock()
		return c.streamError(id, http2.ErrCodeProtocol)
	}
	c.state.lastOpened = id
	if c.state.open >= c.opts.MaxStreams || c.state.drain == finalGoAwaySent {
		c.sendResetLocked(id, http2.ErrCodeRefusedStream, c.opts.StreamWindow)
		err := c.countControlLocked(frameHeaderSize + 4)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		return c.countIdleFrame()
	}
	st := c.newStreamLocked(id)
	st.remoteEnd = f.StreamEnded()
	c.mu.Unlock()
	return c.request(st, f)
}

// request takes the head of a request.
func (c *Conn) request(st *stream, f *http2.MetaHeadersFrame) error {
	r := &st.request
	for _, hf := range f.PseudoFields() {
		switch hf.Name {
		case ":method":
			r.Method = hf.Value
		case ":scheme":
			r.Scheme = hf.Value
		case ":path":
			r.Path = hf.Value
		case ":authority":
			r.Authority = hf.Value
		default:
			return c.streamError(st.id, http2.ErrCodeProtocol)
		}
	}
	r.Fields = f.RegularFields()
	if f.Truncated {
		c.serveStatus(st, statusTooLarge)
		return nil
	}
	if r.Method == "" || r.Path == "" || r.Scheme != "https" && r.Scheme != "http" ||
		strings.Contains(r.Authority, "@") || connectionSpecific(r.Fields) || !c.checkContentLength(st) {
		return c.streamError(st.id, http2.ErrCodeProtocol)
	}
	if !st.remoteEnd {
		if w := c.bufferedHandler(r); w != nil && w.Wants(r) {
			st.buffering, st.buffered = true, w
			c.reading.buffering[st.id] = st
			return nil
		}
	}
	c.serve(st)
	return nil
}

// checkContentLength takes note of content-length, and reports whether it can be true.
func (c *Conn) checkContentLength(st *stream) bool {
	for _, hf := range st.request.Fields {
		if hf.Name != "content-length" {
			continue
		}
		n, err := strconv.ParseUint(hf.Value, 10, 63)
		if err != nil || st.contentLength >= 0 && st.contentLength != int64(n) {
			return false
		}
		st.contentLength = int64(n)
	}
	return !st.remoteEnd || st.contentLength <= 0
}

// connectionSpecific reports whether there are headers that HTTP/2 does not have: RFC 9113 section 8.2.2.
func connectionSpecific(fields []hpack.HeaderField) bool {
	for _, f := range fields {
		switch f.Name {
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
			return true
		case "te":
			if !strings.EqualFold(f.Value, "trailers") {
				return true
			}
		}
	}
	return false
}

// validTrailers reports whether all fields may be trailers: RFC 9110 section 6.5.1.
func validTrailers(fields []hpack.HeaderField) bool {
	for _, f := range fields {
		if !httpguts.ValidTrailerHeader(canonical(f.Name)) {
			return false
		}
	}
	return true
}

// trailers takes the HEADERS frame that ends a request.
func (c *Conn) trailers(st *stream, f *http2.MetaHeadersFrame) error {
	c.mu.Lock()
	ended := st.remoteEnd
	c.mu.Unlock()
	switch {
	case ended:
		return c.streamError(st.id, http2.ErrCodeStreamClosed)
	case !f.StreamEnded() || len(f.PseudoFields()) > 0 || !validTrailers(f.Fields) || st.contentLength >= 0 && st.received != st.contentLength:
		return c.streamError(st.id, http2.ErrCodeProtocol)
	}
	if st.buffering {
		c.serveBuffered(st, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.Truncated {
		st.trailer = f.Fields
	}
	st.remoteEnd = true
	if st.localEnd {
		c.removeStreamLocked(st)
	}
	st.cond.Broadcast()
	return nil
}
