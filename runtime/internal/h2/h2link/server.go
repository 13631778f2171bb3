package h2link

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// accept waits for the call on nc, a TCP or TLS connection from any HTTP/2 client, from which head has been read
// already. It refuses any other request with the HTTP status that says why. nc belongs to the Conn; if accept fails it
// is closed.
func accept(nc net.Conn, head []byte, o Options) (*Conn, error) {
	c := newConn(nc, false, head, o)
	c.readMu.Lock()
	err := c.awaitRequest()
	if err == nil {
		err = c.handleRequest()
	}
	if err != nil {
		err = c.fail(err)
	}
	c.readMu.Unlock()
	if err != nil {
		c.Close(err)
		return nil, err
	}
	return c, nil
}

func (c *Conn) awaitRequest() error {
	if tc, ok := c.nc.(*tls.Conn); ok {
		ctx, cancel := context.WithTimeout(context.Background(), c.opts.HandshakeTimeout)
		defer cancel()
		if err := tc.HandshakeContext(ctx); err != nil {
			return err
		}
		if err := checkTLS(tc.ConnectionState()); err != nil {
			return h2core.ConnErrorf(http2.ErrCodeInadequateSecurity, "%s", err)
		}
	}
	settings := http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1}
	if err := c.queue(func(b []byte) []byte { return c.appendSettings(b, settings) }); err != nil {
		return err
	}
	if err := c.reading.frames.Preface(); err != nil {
		return err
	}
	for c.reading.request == nil {
		if err := c.nextFrame(); err != nil {
			return err
		}
	}
	return c.setReadDeadline(time.Time{})
}

// handleRequest answers the request, with 200 if it is the call.
func (c *Conn) handleRequest() error {
	r := c.reading.request
	path, _, _ := strings.Cut(r.path, "?")
	switch {
	case r.truncated:
		return c.rejectRequest("431")
	case path != c.opts.Path:
		return c.rejectRequest("404")
	case r.method != "POST":
		return c.rejectRequest("405", "allow", "POST")
	case !r.isConnectStream():
		return c.rejectRequest("415", "accept-post", contentType)
	}
	if err := c.queueResponse(false, ":status", "200", "content-type", contentType,
		"connect-accept-encoding", connect.CompressionNameIdentity); err != nil {
		return err
	}
	switch {
	case r.version != "" && r.version != "1":
		return connect.NewError(connect.CodeInvalidArgument, "connect-protocol-version must be 1")
	case !r.uncompressed():
		return connect.Errorf(connect.CodeUnimplemented, "unknown compression: only %s is supported", connect.CompressionNameIdentity)
	}
	// A request without a body ends like one whose last DATA frame has been read.
	c.reading.data = dataFrame{open: r.endStream, endStream: r.endStream}
	c.flush()
	return nil
}

func (c *Conn) rejectRequest(status string, more ...string) error {
	if err := c.queueResponse(true, append([]string{":status", status}, more...)...); err != nil {
		return err
	}
	return connect.Errorf(connect.CodeInvalidArgument, "request refused with HTTP status %s", status)
}

func (c *Conn) queueResponse(end bool, pairs ...string) error {
	block := encodeHeaderBlock(pairs...)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if end {
		s.stream.EndLocal()
	}
	return c.queueLocked(func(b []byte) []byte {
		return h2core.AppendHeaders(b, s.streamID, block, s.peer.MaxFrame, end)
	})
}
