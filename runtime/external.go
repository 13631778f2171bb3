package rpcmesh

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
)

// externalTraffic is what a node's Serves have of others than nodes: of callers from outside, for the most part.
type externalTraffic struct {
	conns        inFlight
	requests     inFlight    // no link's
	otherServers atomic.Bool // calls have come by a server that is not the node's
}

// inFlight counts what is under way. It may be used concurrently.
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

// wait waits until nothing is under way, or ctx ends.
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

// httpRequest is one request by HTTP.
type httpRequest struct {
	server *server
	once   sync.Once
}

type httpRequestKey struct{}

// end is called when the request is answered, or turns out to be a link.
func (r *httpRequest) end() { r.once.Do(r.server.external.requests.end) }

// countRequests has the requests counted that h serves.
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

// countAsLink has the request of ctx counted as a link.
func countAsLink(ctx context.Context) {
	if r, ok := ctx.Value(httpRequestKey{}).(*httpRequest); ok {
		r.end()
	}
}

// countConn is an [http.Server.ConnState] that counts connections, and releases what links admitted.
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

// shutDownServer ends a server in order when the node drains, and returns when ctx has ended: then all that is left may be cut
// off.
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

// drainExternal has callers from outside go elsewhere, and waits until they have, for lastRequest at most.
func (srv *server) drainExternal(ctx context.Context) {
	srv.life.shutdown.drain()
	defer srv.life.shutdown.refuse()
	ctx, cancel := context.WithTimeout(ctx, idleConnTimeout)
	defer cancel()
	stop := context.AfterFunc(srv.life.shutdown.refusing, cancel)
	defer stop()
	_ = srv.external.conns.wait(ctx)
	if srv.external.otherServers.Load() { // on connections that are not known here
		<-ctx.Done()
	}
}

// awaitLastResponses lets callers from outside be told how their calls were cut off.
func (srv *server) awaitLastResponses() {
	ctx, cancel := context.WithTimeout(context.Background(), lastResponseTimeout)
	defer cancel()
	_ = srv.external.requests.wait(ctx)
}
