package h2link

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
)

// Listener takes the connections of rpcmesh diallers out of a listener, and those of others that speak HTTP/2
// if Options.HTTP2 is set, and leaves the rest to net/http: it is the net.Listener to give to an http.Server.
//
// Without TLS a dialler is known by the mark in its first SETTINGS; what has been read to see that
// is read again by net/http. Over TLS it is known by the protocol that ALPN chose, so net/http gets
// the *tls.Conn that it needs to speak HTTP/2.
type Listener struct {
	inner  net.Listener
	opts   Options
	handle func(*Conn) error

	accepted chan acceptResult
	done     chan struct{} // closed by Close
	drained  chan struct{} // closed by Drain
	draining sync.Once
	closing  sync.Once
	accept   sync.WaitGroup // the accepting goroutine and those that sniff
	serving  sync.WaitGroup // connections that are not net/http's

	closeErr error // inner's, once drained

	mu        sync.Mutex
	sniffing  map[net.Conn]struct{} // nil once closed
	delivered map[net.Conn]func()   // what Accept has returned, with its release
}

type acceptResult struct {
	conn net.Conn
	err  error
}

// NewListener begins to accept from inner, whose connections may be TLS (tls.NewListener, with a
// config of ServerTLS) or not. handle has each link's Conn, on a goroutine of its own, until it
// returns; its error is how the call ended: see Conn.Close.
//
// Accept, and so an http.Server that serves the Listener, must run for the Listener to go on.
func NewListener(inner net.Listener, o Options, handle func(*Conn) error) *Listener {
	l := &Listener{
		inner: inner, opts: o.withDefaults(), handle: handle,
		accepted: make(chan acceptResult), done: make(chan struct{}), drained: make(chan struct{}),
		sniffing: make(map[net.Conn]struct{}), delivered: make(map[net.Conn]func()),
	}
	l.accept.Go(l.acceptLoop)
	return l
}

// Addr returns the address that is listened at.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Accept returns the next connection that is no link's. Release must be called when it has ended.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Drain stops listening, but goes on with the connections that there are: Accept returns those of them that it has
// not returned yet, and then waits for Close.
func (l *Listener) Drain() {
	l.draining.Do(func() {
		close(l.drained)
		l.closeErr = l.inner.Close()
	})
}

// Close stops listening. Links that are open stay so: see Wait.
func (l *Listener) Close() error {
	var err error
	l.closing.Do(func() {
		close(l.done)
		l.Drain()
		err = l.closeErr
		l.mu.Lock()
		for nc := range l.sniffing {
			_ = nc.Close()
		}
		l.sniffing = nil
		l.mu.Unlock()
	})
	l.accept.Wait()
	return err
}

// Wait returns when the Listener has been closed and the functions that have its connections have returned.
func (l *Listener) Wait() {
	<-l.done
	l.accept.Wait()
	l.serving.Wait()
}

func (l *Listener) acceptLoop() {
	for {
		var nc net.Conn
		err := guard.Try("the listener", func() (err error) {
			nc, err = l.inner.Accept()
			return err
		})
		if err != nil {
			select {
			case <-l.drained:
				return
			default:
			}
			select {
			case l.accepted <- acceptResult{err: err}:
				continue // it may be a passing want of file descriptors
			case <-l.drained:
				return
			}
		}
		release, ok := l.opts.Admit(nc)
		if !ok {
			_ = nc.Close()
			continue
		}
		l.accept.Go(func() {
			if !l.dispatch(nc, release) {
				release()
			}
		})
	}
}

// dispatch finds out whose nc is and hands it on, with release. It reports whether it has.
func (l *Listener) dispatch(nc net.Conn, release func()) bool {
	if !l.track(nc) {
		_ = nc.Close()
		return false
	}
	head, v := l.sniff(nc)
	if !l.untrack(nc) {
		return false // Close has closed it
	}
	serve := l.serverFor(v)
	if serve == nil {
		return l.deliver(newReplayConn(nc, head), release)
	}
	l.serving.Go(func() {
		defer release()
		serve(nc, head)
	})
	return true
}

// serverFor returns what serves a connection of v's; nil: who calls Accept.
func (l *Listener) serverFor(v protocol) func(nc net.Conn, head []byte) {
	switch {
	case v == protocolLink:
		return l.serve
	case v == protocolHTTP2 && l.opts.HTTP2 != nil:
		return l.opts.HTTP2()
	}
	return nil
}

// deliver gives nc, with release, to who calls Accept. It reports whether that took it.
func (l *Listener) deliver(nc net.Conn, release func()) bool {
	l.mu.Lock()
	l.delivered[nc] = release
	l.mu.Unlock()
	select {
	case l.accepted <- acceptResult{conn: nc}:
		return true
	case <-l.done:
		_ = nc.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.delivered, nc)
		return false
	}
}

// Release notes that a connection of Accept's has ended.
func (l *Listener) Release(nc net.Conn) {
	l.mu.Lock()
	release := l.delivered[nc]
	delete(l.delivered, nc)
	l.mu.Unlock()
	if release != nil {
		release()
	}
}

// sniff returns whose nc is and what has been read to see that.
func (l *Listener) sniff(nc net.Conn) ([]byte, protocol) {
	deadline := time.Now().Add(l.opts.HandshakeTimeout)
	tc, ok := nc.(*tls.Conn)
	if !ok {
		return sniffConn(nc, deadline)
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	// net/http answers and reports a handshake that fails: it gets the same error.
	if err := tc.HandshakeContext(ctx); err != nil {
		l.rejectHandshake(tc.NetConn(), err)
		return nil, protocolOther
	}
	switch tc.ConnectionState().NegotiatedProtocol {
	case ALPN:
		return nil, protocolLink
	case alpnHTTP2:
		return nil, protocolHTTP2
	}
	return nil, protocolOther
}

func (l *Listener) serve(nc net.Conn, head []byte) {
	c, err := accept(nc, head, l.opts)
	if err != nil {
		return
	}
	c.Close(l.handle(c))
}

// track makes Close close nc until letGo, and reports whether Close has not been called yet.
func (l *Listener) track(nc net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sniffing == nil {
		return false
	}
	l.sniffing[nc] = struct{}{}
	return true
}

func (l *Listener) untrack(nc net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, held := l.sniffing[nc]
	delete(l.sniffing, nc)
	return held
}
