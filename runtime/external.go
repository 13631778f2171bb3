package rpcmesh

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
)

// externalTraffic counts the traffic of a node's listeners that is not between nodes, which is mostly that of callers
// outside.
type externalTraffic struct {
	conns        inFlight
	requests     inFlight    // of HTTP, without links
	otherServers atomic.Bool // calls have come in by a server of the user's own
}

// inFlight counts operations in progress. It may be used concurrently.
type inFlight struct {
	mu      sync.Mutex
	n       int
	drained broadcast
}

func (t *inFlight) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
}

func (t *inFlight) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 {
		t.drained.fire()
	}
}

// wait waits until none is in progress, or until ctx ends.
func (t *inFlight) wait(ctx context.Context) error {
	t.mu.Lock()
	none := t.drained.wait()
	some := t.n > 0
	t.mu.Unlock()
	if !some {
		return nil
	}
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// httpRequest is one HTTP request that is being counted.
type httpRequest struct {
	server *server
	once   sync.Once
}

type httpRequestKey struct{}

// end stops counting the request: it has been answered, or is a link.
func (r *httpRequest) end() { r.once.Do(r.server.external.requests.end) }

// countRequests wraps a handler so that its requests are counted.
func (srv *server) countRequests(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		srv.external.requests.begin()
		req := &httpRequest{server: srv}
		defer req.end()
		if srv.life.shutdown.draining.Err() != nil {
			w.Header().Set("Connection", "close") // which net/http makes a GOAWAY over HTTP/2
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), httpRequestKey{}, req)))
	})
}

// countAsLink stops counting the request of ctx, which is a link.
func countAsLink(ctx context.Context) {
	if r, ok := ctx.Value(httpRequestKey{}).(*httpRequest); ok {
		r.end()
	}
}

// countConn returns an [http.Server.ConnState] hook that counts connections, and releases those that links admitted.
func (srv *server) countConn(links *h2link.Listener) func(net.Conn, http.ConnState) {
	return func(nc net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			srv.external.conns.begin()
		case http.StateClosed, http.StateHijacked:
			srv.external.conns.end()
			links.Release(nc)
		case http.StateActive, http.StateIdle:
		}
	}
}

// shutDownServer shuts a server down in order when the node drains. It returns when ctx has ended: then the remaining
// connections may be cut off.
func (srv *server) shutDownServer(ctx context.Context, links *h2link.Listener, server *http.Server) {
	select {
	case <-ctx.Done():
		return
	case <-srv.life.shutdown.draining.Done():
	}
	links.Drain()
	select {
	case <-ctx.Done():
	case <-srv.life.shutdown.refusing.Done():
		_ = server.Shutdown(ctx) // as below
		<-ctx.Done()
	}
	if srv.life.ctx.Err() == nil || srv.life.shutdown.abrupt.Load() {
		return // only this Serve was to end, or all of it at once
	}
	short, cancel := context.WithTimeout(context.Background(), lastResponseTimeout)
	defer cancel()
	_ = server.Shutdown(short) // fails where connections are left, which are cut off
	_ = srv.external.conns.wait(short)
}

// drainExternal makes callers outside use other connections, and waits until they do, for at most idleConnTimeout.
func (srv *server) drainExternal(ctx context.Context) {
	srv.life.shutdown.drain()
	defer srv.life.shutdown.refuse()
	ctx, cancel := context.WithTimeout(ctx, idleConnTimeout)
	defer cancel()
	stop := context.AfterFunc(srv.life.shutdown.refusing, cancel)
	defer stop()
	_ = srv.external.conns.wait(ctx)
	if srv.external.otherServers.Load() { // whose connections cannot be seen here
		<-ctx.Done()
	}
}

// awaitLastResponses gives callers outside time to read that their calls were cut off.
func (srv *server) awaitLastResponses() {
	ctx, cancel := context.WithTimeout(context.Background(), lastResponseTimeout)
	defer cancel()
	_ = srv.external.requests.wait(ctx)
}
