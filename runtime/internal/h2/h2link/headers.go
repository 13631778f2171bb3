package h2link

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
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

func parseHead(f *http2.MetaHeadersFrame) (head, error) {
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
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
			// RFC 9113 section 8.2.2.
			return h, connErrorf(http2.ErrCodeProtocol, "header %q, which HTTP/2 does not have", hf.Name)
		}
	}
	return h, nil
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
	h, err := parseHead(f)
	if err != nil {
		return err
	}
	if !c.client && f.StreamID != c.state.streamID {
		return c.requestHead(f.StreamID, h)
	}
	switch {
	case f.StreamID != c.state.streamID:
		return connErrorf(http2.ErrCodeProtocol, "HEADERS of stream %d, which nobody opened", f.StreamID)
	case c.state.remoteClosed:
		return connErrorf(http2.ErrCodeStreamClosed, "HEADERS after the end of the stream")
	case c.client && !c.reading.gotResponse:
		return c.responseHead(h)
	case !h.endStream || len(f.PseudoFields()) > 0:
		return connErrorf(http2.ErrCodeProtocol, "HEADERS within the stream that are no trailers")
	}
	return c.handleEndStream()
}

// requestHead takes the request that opens the call; to others it says that one is all it takes.
func (c *Conn) requestHead(stream uint32, h head) error {
	if stream%2 == 0 || stream <= c.state.lastStream {
		return connErrorf(http2.ErrCodeProtocol, "HEADERS of stream %d, which a client cannot open now", stream)
	}
	c.mu.Lock()
	c.state.lastStream = stream
	first := c.state.streamID == 0 && !c.state.closed
	if first {
		c.state.streamID = stream
		c.state.remoteClosed = h.endStream
	}
	c.mu.Unlock()
	if first {
		c.reading.request = &h
		return nil
	}
	if c.reading.refusedStreams++; c.reading.refusedStreams > maxRefusedStreams {
		return connErrorf(http2.ErrCodeEnhanceYourCalm, "%d streams beside the one that is served", c.reading.refusedStreams)
	}
	return c.queue(func(w *http2.Framer) error { return w.WriteRSTStream(stream, http2.ErrCodeRefusedStream) })
}

// responseHead takes the response's headers; those of an interim response are skipped.
func (c *Conn) responseHead(h head) error {
	status, err := strconv.Atoi(h.status)
	if err != nil || len(h.status) != 3 || status < 100 || status == 101 || status < 200 && h.endStream {
		return connErrorf(http2.ErrCodeProtocol, "response with the status %q", h.status)
	}
	if status < 200 {
		return c.countIdleFrame()
	}
	c.reading.gotResponse = true
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
