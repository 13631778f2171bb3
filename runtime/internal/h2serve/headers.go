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
		return breachf(http2.ErrCodeProtocol, "HEADERS of stream %d, which a client cannot open", id)
	case id <= c.state.last:
		was := c.wasReset(id)
		c.mu.Unlock()
		if was != nil {
			return c.useless()
		}
		return breachf(http2.ErrCodeStreamClosed, "HEADERS of stream %d, which is over", id)
	case f.HasPriority() && f.Priority.StreamDep == id:
		c.mu.Unlock()
		return c.streamError(id, http2.ErrCodeProtocol)
	}
	c.state.last = id
	if c.state.open >= c.opts.MaxStreams || c.state.leaving == gone {
		c.refuse(id, http2.ErrCodeRefusedStream, c.opts.StreamWindow)
		err := c.say(frameHeaderSize + 4)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		return c.useless()
	}
	st := c.newStream(id)
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
		strings.Contains(r.Authority, "@") || connectionSpecific(r.Fields) || !c.length(st) {
		return c.streamError(st.id, http2.ErrCodeProtocol)
	}
	if !st.remoteEnd {
		if w := c.whole(r); w != nil && w.Wants(r) {
			st.gathering, st.whole = true, w
			c.reading.gathering[st.id] = st
			return nil
		}
	}
	c.serve(st)
	return nil
}

// length takes note of content-length, and reports whether it can be true.
func (c *Conn) length(st *stream) bool {
	for _, hf := range st.request.Fields {
		if hf.Name != "content-length" {
			continue
		}
		n, err := strconv.ParseUint(hf.Value, 10, 63)
		if err != nil || st.length >= 0 && st.length != int64(n) {
			return false
		}
		st.length = int64(n)
	}
	return !st.remoteEnd || st.length <= 0
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

// trailing reports whether all fields may be trailers: RFC 9110 section 6.5.1.
func trailing(fields []hpack.HeaderField) bool {
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
	case !f.StreamEnded() || len(f.PseudoFields()) > 0 || !trailing(f.Fields) || st.length >= 0 && st.received != st.length:
		return c.streamError(st.id, http2.ErrCodeProtocol)
	}
	if st.gathering {
		c.leave(st, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.Truncated {
		st.trailer = f.Fields
	}
	st.remoteEnd = true
	if st.localEnd {
		c.forget(st)
	}
	st.cond.Broadcast()
	return nil
}
