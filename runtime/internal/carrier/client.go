package carrier

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// Client is the dialling side of a carried link.
type Client struct {
	addr   string
	stream connect.ClientStream
	info   *connect.CallInfo
	http   *http.Transport
	cancel context.CancelFunc
	in     packet

	sending sync.Mutex // the stream's first Send is not to be beside its Close, nor after
	ended   bool       // guarded by sending
	closed  sync.Once
}

// Dialer says how connections are made.
type Dialer struct {
	// Dial makes the connection; nil: a TCP one.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is what https is spoken with; nil: the defaults of crypto/tls.
	TLS *tls.Config
	// MaxPacket is the longest packet that is received, in bytes.
	MaxPacket int
}

// Open prepares a stream to the node at base, an http or https URL whose path is where that node is
// mounted. It does not wait for the connection: a failure to connect shows at the first Receive. ctx
// bounds the life of the stream. The caller closes it.
func (d Dialer) Open(ctx context.Context, base *url.URL) (*Client, error) {
	protocols := new(http.Protocols)
	if base.Scheme == "https" {
		protocols.SetHTTP2(true)
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	transport := &http.Transport{
		Protocols:          protocols,
		DialContext:        d.Dial,
		TLSClientConfig:    d.TLS.Clone(),
		DisableCompression: true,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream:     receiveBuffer,
			MaxReceiveBufferPerConnection: receiveBuffer,
		},
	}
	ctx, cancel := context.WithCancel(ctx)
	ctx, info := connect.NewClientContext(ctx)
	stream, err := connecthttp.NewTransport(&http.Client{Transport: transport}, base.String(),
		connecthttp.WithCodecs(rawCodec{}),
		connecthttp.WithCompressors(),
		connecthttp.WithReadMaxBytes(d.MaxPacket),
	).NewClientStream(ctx, sessionSpec())
	if err != nil {
		cancel()
		return nil, err
	}
	return &Client{addr: base.Host, stream: stream, info: info, http: transport, cancel: cancel}, nil
}

// Send sends the packet p[link.HeadRoom:]. Where the stream has ended it returns io.EOF, and Receive
// says why.
func (c *Client) Send(p []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.ended {
		return io.EOF
	}
	return c.stream.Send(&packet{b: p[link.HeadRoom:]})
}

// Receive returns the next packet, which is valid until the next Receive.
func (c *Client) Receive() ([]byte, error) {
	if err := c.stream.Receive(&c.in); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, err
	}
	return c.in.b, nil
}

// Close ends the stream and its connection. A client cannot say why, so the error is not sent.
func (c *Client) Close(error) {
	c.closed.Do(func() {
		c.cancel() // which ends a Send too
		c.sending.Lock()
		defer c.sending.Unlock()
		c.ended = true
		_ = c.stream.Close() // what it reports is our own cancel
		c.http.CloseIdleConnections()
	})
}

// Binding returns what both ends export from the TLS channel, nil in cleartext. Call it after the
// first Receive.
func (c *Client) Binding() ([]byte, error) { return binding(c.TLS()) }

// TLS returns the state of the TLS channel after the first Receive, nil in cleartext.
func (c *Client) TLS() *tls.ConnectionState {
	info, _ := c.info.TransportInfo.(*connecthttp.ClientInfo)
	return info.TLS()
}

// Addr returns the host and port that were dialled.
func (c *Client) Addr() string { return c.addr }

func binding(state *tls.ConnectionState) ([]byte, error) {
	if state == nil {
		return nil, nil
	}
	return state.ExportKeyingMaterial(bindingLabel, nil, bindingLength)
}
