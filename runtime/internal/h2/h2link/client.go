package h2link

import (
	"context"
	"crypto/tls"
	"net"

	"connectrpc.com/connect/v2"
	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

const maxRequestBlock = 8 << 10 // of a request: what every server takes

// Open opens the call on nc, a TCP or TLS connection to a server whose host and port is authority.
// It does not wait for the server: Receive returns what the server answers, or why the call failed. ctx bounds the TLS
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

// sendPreface writes the preface, the SETTINGS and the request in one write.
func (c *Conn) sendPreface(ctx context.Context, block []byte) error {
	c.mu.Lock()
	s := &c.state
	s.streamID = 1
	s.stream.Open()
	s.socket = socketBusy
	c.mu.Unlock()
	b := c.appendSettings([]byte(http2.ClientPreface),
		http2.Setting{ID: http2.SettingEnablePush},
		http2.Setting{ID: settingLink, Val: settingLinkValue},
	)
	b = h2core.AppendHeaders(b, s.streamID, block, h2core.InitialMaxFrame, false)

	stop := context.AfterFunc(ctx, c.abort)
	err := c.write(b, c.opts.HandshakeTimeout)
	if !stop() {
		return connect.NewError(coded.OfContext(ctx.Err()), "the call was not opened in time").WithCause(context.Cause(ctx))
	}
	c.releaseSocket(false)
	return err
}
