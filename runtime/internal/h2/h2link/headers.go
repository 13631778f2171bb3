package h2link

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

const contentType = "application/connect+proto"

// head is what counts of a request's or response's headers.
type head struct {
	method, scheme, path, status string
	contentType, encoding        string
	version                      string // of the Connect protocol
	location, server             string
	endStream                    bool
	truncated                    bool
}

func parseHead(f *http2.MetaHeadersFrame) head {
	h := head{endStream: f.StreamEnded(), truncated: f.Truncated}
	for _, hf := range f.Fields {
		switch hf.Name {
		case ":method":
			h.method = hf.Value
		case ":scheme":
			h.scheme = hf.Value
		case ":path":
			h.path = hf.Value
		case ":status":
			h.status = hf.Value
		case "content-type":
			h.contentType = hf.Value
		case "connect-content-encoding":
			h.encoding = hf.Value
		case "connect-protocol-version":
			h.version = hf.Value
		case "location":
			h.location = hf.Value
		case "server":
			h.server = hf.Value
		}
	}
	return h
}

// isConnectStream reports whether the content type is that of our messages, whatever its parameters.
func (h *head) isConnectStream() bool {
	media, _, _ := strings.Cut(h.contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), contentType)
}

// uncompressed reports whether the messages are not compressed.
func (h *head) uncompressed() bool {
	return h.encoding == "" || h.encoding == connect.CompressionNameIdentity
}

// headersFrame takes a request, a response, or trailers.
func (c *Conn) headersFrame(f *http2.MetaHeadersFrame) error {
	r := &c.reading
	if !c.client && f.StreamID != c.state.streamID {
		return c.requestHead(f)
	}
	switch {
	case f.StreamID != c.state.streamID:
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "HEADERS of stream %d, which nobody opened", f.StreamID)
	case r.recv == recvEnded:
		return h2core.ConnErrorf(http2.ErrCodeStreamClosed, "HEADERS after the end of the stream")
	case r.recv == recvHeaders:
		return c.responseHead(f)
	}
	if err := h2core.CheckTrailers(f); err != nil {
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "%s", err)
	}
	if !r.length.Add(0, true) {
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "DATA of another length than content-length says")
	}
	return c.handleEndStream()
}

// requestHead takes the request that opens the call, and refuses others.
func (c *Conn) requestHead(f *http2.MetaHeadersFrame) error {
	r := &c.reading
	stream := f.StreamID
	switch {
	case r.resets.Has(stream):
		return c.countIdleFrame() // sent before the client knew
	case stream%2 == 0 || stream <= c.state.lastStream:
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "HEADERS of stream %d, which a client cannot open now", stream)
	}
	if c.openStream(stream, f.StreamEnded()) {
		request, err := h2core.ParseRequest(f)
		if err != nil {
			return h2core.ConnErrorf(http2.ErrCodeProtocol, "%s", err)
		}
		h := parseHead(f)
		r.request = &h
		r.length = request.Body
		r.recv = recvBody
		if f.StreamEnded() {
			r.recv = recvEnded
		}
		return nil
	}
	r.refusedStreams++
	if r.refusedStreams > maxRefusedStreams {
		return h2core.ConnErrorf(http2.ErrCodeEnhanceYourCalm, "%d streams beside the one that is served", r.refusedStreams)
	}
	r.resets.Add(stream, 0)
	return c.queue(func(b []byte) []byte { return h2core.AppendRSTStream(b, stream, http2.ErrCodeRefusedStream) })
}

// openStream notes that the client has opened a stream, and reports whether it is the call's.
func (c *Conn) openStream(id uint32, end bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	s.lastStream = id
	if s.streamID != 0 || s.phase != phaseOpen {
		return false
	}
	s.streamID = id
	s.stream.Open()
	if end {
		s.stream.EndRemote()
	}
	return true
}

// responseHead takes the response's headers; those of an interim response are skipped.
func (c *Conn) responseHead(f *http2.MetaHeadersFrame) error {
	r := &c.reading
	h := parseHead(f)
	status, err := strconv.Atoi(h.status)
	if err != nil || len(h.status) != 3 || status < 100 || status == 101 || status < 200 && h.endStream {
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "response with the status %q", h.status)
	}
	if err := h2core.CheckFields(f.RegularFields()); err != nil {
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "%s", err)
	}
	if status < 200 {
		return c.countIdleFrame()
	}
	r.recv = recvBody
	switch {
	case status != 200:
		return h.responseError(codeForStatus(status), status)
	case h.truncated:
		return connect.Errorf(connect.CodeResourceExhausted, "the server answered with more than %d bytes of headers", maxHeaderList)
	case !h.isConnectStream():
		return h.responseError(connect.CodeUnknown, status)
	case !h.uncompressed():
		return connect.Errorf(connect.CodeInternal, "the server answered with encoding %q, but identity is all that was offered", h.encoding)
	}
	r.length, err = h2core.ParseContentLength(f.RegularFields(), h.endStream)
	if err != nil {
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "%s", err)
	}
	if err := c.setReadDeadline(time.Time{}); err != nil {
		return err
	}
	c.stage.Store(int32(ResponseReceived))
	if h.endStream {
		return c.handleEndStream()
	}
	return nil
}

// responseError is the error of a response that is no call's.
func (h *head) responseError(code connect.Code, status int) error {
	err := &ResponseError{Status: status, ContentType: h.contentType, Location: h.location, Server: h.server}
	return connect.NewError(code, err.Error()).WithCause(err)
}

// encodeHeaderBlock encodes a header block of name and value pairs. It leaves the peer's table alone, so
// it does not matter what size the peer allows.
func encodeHeaderBlock(pairs ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	e.SetMaxDynamicTableSize(0)
	for i := 0; i < len(pairs); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return b.Bytes()
}
