package adopt

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// tcpKeepalive finds a host that has gone without a word, in about 10 s.
var tcpKeepalive = net.KeepAliveConfig{Enable: true, Idle: 4 * time.Second, Interval: 2 * time.Second, Count: 3}

// httpClient is the HTTP client of one server. It knows its connections: what has not been connected has not
// been sent, one that ends may mean that the server does, and one that is silent can be closed.
type httpClient struct {
	cfg       *Config
	http2     *http.Client
	http1     *http.Client  // of protocols that can do without HTTP/2, in cleartext; else nil
	useHTTP1  atomic.Bool   // http1 is the one to use
	lost      chan struct{} // a connection has ended
	refused   chan struct{} // one could not be made
	goingAway chan struct{} // the server has said GOAWAY
	mu        sync.Mutex
	conns     map[*conn]struct{}
	closed    bool
	timeout   time.Duration // to connect
}

// notConnectedError is the error of a request that has not left this node.
type notConnectedError struct{ cause error }

func (e *notConnectedError) Error() string { return e.cause.Error() }
func (e *notConnectedError) Unwrap() error { return e.cause }

func newHTTPClient(cfg *Config, u *url.URL) *httpClient {
	w := &httpClient{
		cfg: cfg, conns: map[*conn]struct{}{}, timeout: cfg.ProbeTimeout,
		lost: make(chan struct{}, 1), refused: make(chan struct{}, 1), goingAway: make(chan struct{}, 1),
	}
	var first http.Protocols
	first.SetHTTP2(true)
	first.SetUnencryptedHTTP2(true)
	first.SetHTTP1(cfg.Protocol != GRPC && u.Scheme == "https")
	w.http2 = w.client(first)
	if cfg.Protocol != GRPC && u.Scheme == "http" {
		var old http.Protocols
		old.SetHTTP1(true)
		w.http1 = w.client(old)
	}
	return w
}

func (w *httpClient) client(protocols http.Protocols) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Protocols:              &protocols,
			DialContext:            w.dialClear(protocols),
			DialTLSContext:         w.dialTLS(protocols),
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxResponseHeaderBytes,
			MaxIdleConnsPerHost:    64,
			IdleConnTimeout:        time.Minute,
			HTTP2:                  &http.HTTP2Config{WriteByteTimeout: time.Minute},
		},
		// Where else the server points to is not the server, and would be shown the headers.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Do makes httpClient a [connecthttp.HTTPClient].
func (w *httpClient) Do(req *http.Request) (*http.Response, error) {
	client := w.http2
	if w.useHTTP1.Load() {
		client = w.http1
	}
	if req.ContentLength < 0 {
		res, err := sendStream(client, req)
		respond(req.Context(), res)
		return res, err
	}
	res, err := sendOnce(client, req)
	if err != nil && req.GetBody != nil && req.Context().Err() == nil && isUnprocessed(err) {
		// The connection went away beneath it; on another one the server may take it.
		if body, rewound := req.GetBody(); rewound == nil {
			again := req.WithContext(req.Context())
			again.Body = body
			res, err = sendOnce(client, again)
		}
	}
	respond(req.Context(), res)
	return res, err
}

// sendOnce sends req and leaves it to the caller to repeat it: HTTP's client would do so for half a minute
// while the server refuses it, and others that have the function would not be asked.
func sendOnce(client *http.Client, req *http.Request) (*http.Response, error) {
	once := req.WithContext(req.Context())
	once.GetBody = nil
	return client.Do(once) //nolint:gosec // the URL is the one that the server was adopted by
}

// dialClear returns what dials in cleartext.
func (w *httpClient) dialClear(protocols http.Protocols) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := w.dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if protocols.UnencryptedHTTP2() {
			c.goaway = new(goaway)
		}
		return c, nil
	}
}

// notConnected is the error of a connection that could not be made, for err.
func (w *httpClient) notConnected(err error) error {
	if !errors.Is(err, context.Canceled) {
		notify(w.refused)
	}
	return &notConnectedError{err}
}

func (w *httpClient) dial(ctx context.Context, network, addr string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	raw, err := w.cfg.Dial(ctx, network, addr)
	if err != nil {
		return nil, w.notConnected(err)
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(tcpKeepalive) // without it the probes find out, later
	}
	c := &conn{Conn: raw, client: w}
	c.lastRead.Store(time.Now().UnixNano())
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = raw.Close()
		return nil, &notConnectedError{net.ErrClosed}
	}
	w.conns[c] = struct{}{}
	return c, nil
}

// listens is an error if nobody listens at u any more. A server that stops may have taken a connection at the last
// moment, which works as before and which it waits for: only a new one tells.
func (w *httpClient) listens(ctx context.Context, u *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	c, err := w.cfg.Dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if errors.Is(err, syscall.ECONNREFUSED) {
		return withReason(errNotConnected.WithCause(err))
	}
	if err == nil {
		_ = c.Close()
	}
	return nil // what else fails passes, or is for a probe to find out
}

func (w *httpClient) dialTLS(protocols http.Protocols) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := w.dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		var cfg *tls.Config
		cfg = w.cfg.TLS.Clone()
		if cfg == nil {
			cfg = new(tls.Config)
		}
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(addr) // it has both, or would not have been dialled
		}
		cfg.NextProtos = []string{"h2"}
		if protocols.HTTP1() {
			cfg.NextProtos = append(cfg.NextProtos, "http/1.1")
		}
		ctx, cancel := context.WithTimeout(ctx, w.timeout)
		defer cancel()
		c := tls.Client(raw, cfg)
		if err := c.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, w.notConnected(err)
		}
		return c, nil
	}
}

// closeSilent closes the connections on which nothing has come since then.
func (w *httpClient) closeSilent(since time.Time) {
	w.mu.Lock()
	var silent []*conn
	for c := range w.conns {
		if c.lastRead.Load() < since.UnixNano() {
			silent = append(silent, c)
		}
	}
	w.mu.Unlock()
	for _, c := range silent {
		_ = c.Close()
	}
}

// close closes all connections, and lets no more be made.
func (w *httpClient) close() {
	w.mu.Lock()
	w.closed = true
	conns := make([]*conn, 0, len(w.conns))
	for c := range w.conns {
		conns = append(conns, c)
	}
	w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	for _, client := range slices.DeleteFunc([]*http.Client{w.http2, w.http1}, func(c *http.Client) bool { return c == nil }) {
		client.CloseIdleConnections()
	}
}

// conn is one connection to the server.
type conn struct {
	net.Conn
	client    *httpClient
	goaway    *goaway      // the reader's; nil where what comes is not HTTP/2 in the clear
	lastRead  atomic.Int64 // when something came last, in ns
	goingAway atomic.Bool
	once      sync.Once
	err       error
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.lastRead.Store(time.Now().UnixNano())
		if c.goaway != nil && c.goaway.scan(b[:n]) {
			notify(c.client.goingAway)
		}
	}
	if err != nil {
		c.end()
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.end()
	}
	return n, err
}

// Close is what HTTP's client calls when the connection is of no more use, whoever ended it.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.client.mu.Lock()
		delete(c.client.conns, c)
		c.client.mu.Unlock()
		c.end()
		c.err = c.Conn.Close()
	})
	return c.err
}

// end tells, before HTTP's client can, that the connection is over.
func (c *conn) end() {
	c.goingAway.Store(true)
	notify(c.client.lost)
}

// notify leaves a notice at c, where one at a time waits to be taken.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// connOf returns the conn below one that HTTP's client has.
func connOf(c net.Conn) *conn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	own, _ := c.(*conn)
	return own
}
