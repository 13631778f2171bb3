package h2link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
)

const maxRequestBlock = 8 << 10 // of a request: what every server takes

// Open opens the call on nc, a TCP or TLS connection to a server whose host and port is authority.
// It does not wait for the server: Receive says what became of the call. ctx bounds the TLS
// handshake and the writing of the request. nc belongs to the Conn; if Open fails it is closed.
func Open(ctx context.Context, nc net.Conn, authority string, o Options) (*Conn, error) {
	c, err := open(ctx, nc, authority, o)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

func open(ctx context.Context, nc net.Conn, authority string, o Options) (*Conn, error) {
	scheme := "http"
	if tc, ok := nc.(*tls.Conn); ok {
		scheme = "https"
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, connect.NewError(connect.CodeUnavailable, "TLS handshake failed: "+err.Error()).WithCause(&TLSError{err})
		}
		if err := checkTLS(tc.ConnectionState()); err != nil {
			return nil, connect.NewError(connect.CodeUnavailable, err.Error()).WithCause(&TLSError{err})
		}
	}
	c := newConn(nc, true, nil, o)
	block := encodeHeaderBlock(
		":method", "POST", ":scheme", scheme, ":authority", authority, ":path", c.opts.Path,
		"content-type", contentType, "connect-protocol-version", "1",
		"connect-accept-encoding", connect.CompressionNameIdentity,
		"accept-encoding", connect.CompressionNameIdentity, "user-agent", "rpcmesh",
	)
	if len(block) > maxRequestBlock {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "host and path take more than %d bytes", maxRequestBlock)
	}
	err := c.sendPreface(ctx, block)
	if err != nil && ctx.Err() == nil {
		err = c.openError(err)
	}
	return c, err
}

// sendPreface writes all that a client says unasked, at once.
func (c *Conn) sendPreface(ctx context.Context, block []byte) error {
	c.mu.Lock()
	s := &c.state
	s.streamID, s.busy = 1, true
	_, _ = s.control.Write([]byte(http2.ClientPreface))
	_ = s.framer.WriteSettings(c.localSettings(
		http2.Setting{ID: http2.SettingEnablePush},
		http2.Setting{ID: settingLink, Val: settingLinkValue},
	)...)
	c.queueConnWindowLocked()
	_ = s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.streamID, BlockFragment: block, EndHeaders: true})
	b := s.control.takeAll()
	c.mu.Unlock()

	stop := context.AfterFunc(ctx, c.abort)
	err := c.write(b, c.opts.HandshakeTimeout)
	if !stop() {
		return connect.NewError(contextCode(ctx), "the call was not opened in time").WithCause(context.Cause(ctx))
	}
	c.mu.Lock()
	c.releaseLocked()
	c.mu.Unlock()
	return err
}

func contextCode(ctx context.Context) connect.Code {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return connect.CodeDeadlineExceeded
	}
	return connect.CodeCanceled
}
