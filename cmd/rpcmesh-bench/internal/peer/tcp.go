package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

const (
	tcpPrefix = 4       // bytes of a message's length, big endian
	tcpLimit  = 8 << 20 // the longest message, in bytes
	tcpBuffer = 64 << 10
)

// tcpPeer is the floor: a length and the bytes over a bare socket, a connection for each caller.
type tcpPeer struct{}

func (tcpPeer) Traits() Traits {
	return Traits{Name: "tcp", Note: "length and bytes, a connection a caller", MaxRelays: 2, Streams: true}
}

func (tcpPeer) Serve(ctx context.Context, _ string, _ Options) (string, error) {
	return serveTCP(ctx, func(conn net.Conn) {
		defer conn.Close()
		s := newTCPStream(conn)
		for {
			payload, err := s.Receive()
			if err != nil || s.Send(payload) != nil {
				return
			}
		}
	})
}

func (tcpPeer) Relay(ctx context.Context, upstream string, _ Options) (string, error) {
	return serveTCP(ctx, func(in net.Conn) {
		defer in.Close()
		var d net.Dialer
		out, err := d.DialContext(ctx, "tcp", upstream)
		if err != nil {
			return
		}
		defer out.Close()
		go func() {
			copyPlain(in, out)
			in.Close()
		}()
		copyPlain(out, in)
	})
}

func (tcpPeer) Dial(_ context.Context, addr string, _ Options) (Client, error) {
	return &tcpClient{addr: addr}, nil
}

// copyPlain copies by read and write until either side ends. The kernel's splice, which io.Copy would use, costs short
// messages more.
func copyPlain(dst io.Writer, src io.Reader) {
	buf := make([]byte, tcpBuffer)
	_, _ = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, buf)
}

func serveTCP(ctx context.Context, handle func(net.Conn)) (string, error) {
	l, err := listen(ctx)
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			go handle(conn)
		}
	}()
	return l.Addr().String(), nil
}

// tcpClient hands a connection to each call that runs, the last used one first.
type tcpClient struct {
	addr string

	mu     sync.Mutex
	idle   []*tcpStream
	closed bool
}

func (c *tcpClient) Unary(ctx context.Context, payload []byte) ([]byte, error) {
	s, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Send(payload); err != nil {
		return nil, errors.Join(err, s.conn.Close())
	}
	res, err := s.Receive()
	if err != nil {
		return nil, errors.Join(err, s.conn.Close())
	}
	return res, c.put(s)
}

func (c *tcpClient) Stream(ctx context.Context) (Stream, error) {
	s, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { s.conn.Close() })
	return s, nil
}

func (c *tcpClient) take(ctx context.Context) (*tcpStream, error) {
	c.mu.Lock()
	if last := len(c.idle) - 1; last >= 0 {
		s := c.idle[last]
		c.idle = c.idle[:last]
		c.mu.Unlock()
		return s, nil
	}
	c.mu.Unlock()
	return c.dial(ctx)
}

func (c *tcpClient) put(s *tcpStream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return s.conn.Close()
	}
	c.idle = append(c.idle, s)
	return nil
}

func (c *tcpClient) dial(ctx context.Context) (*tcpStream, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	return newTCPStream(conn), nil
}

func (c *tcpClient) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, s := range c.idle {
		s.conn.Close()
	}
	return nil
}

type tcpStream struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte // Send's
	got  []byte // Receive's

	prefix [tcpPrefix]byte // Receive's
}

func newTCPStream(conn net.Conn) *tcpStream {
	return &tcpStream{conn: conn, in: bufio.NewReaderSize(conn, tcpBuffer)}
}

func (s *tcpStream) Send(payload []byte) error {
	s.out = binary.BigEndian.AppendUint32(s.out[:0], uint32(len(payload)))
	s.out = append(s.out, payload...)
	_, err := s.conn.Write(s.out)
	return err
}

// Receive returns bytes that are valid until the next one.
func (s *tcpStream) Receive() ([]byte, error) {
	if _, err := io.ReadFull(s.in, s.prefix[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(s.prefix[:])
	if n > tcpLimit {
		return nil, fmt.Errorf("a message of %d bytes, the limit is %d", n, tcpLimit)
	}
	if int(n) > cap(s.got) {
		s.got = make([]byte, n)
	}
	s.got = s.got[:n]
	_, err := io.ReadFull(s.in, s.got)
	return s.got, err
}

func (s *tcpStream) CloseSend() error {
	if tcp, ok := s.conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return s.conn.Close()
}
