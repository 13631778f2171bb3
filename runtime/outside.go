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
	node *Node
	once sync.Once
}

type httpRequestKey struct{}

// end is called when the request is answered, or turns out to be a link.
func (r *httpRequest) end() { r.once.Do(r.node.external.requests.end) }

// countRequests has the requests counted that h serves.
func (n *Node) countRequests(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.external.requests.begin()
		req := &httpRequest{node: n}
		defer req.end()
		if n.shutdown.draining.Err() != nil {
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
func (n *Node) countConn(links *h2link.Listener) func(net.Conn, http.ConnState) {
	return func(nc net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			n.external.conns.begin()
		case http.StateClosed, http.StateHijacked:
			n.external.conns.end()
			links.Release(nc)
		case http.StateActive, http.StateIdle:
		}
	}
}

// shutDownServer ends a server in order when the node drains, and returns when ctx has ended: then all that is left may be cut
// off.
func (n *Node) shutDownServer(ctx context.Context, links *h2link.Listener, server *http.Server) {
	select {
	case <-ctx.Done():
		return
	case <-n.shutdown.draining.Done():
	}
	links.Drain()
	select {
	case <-ctx.Done():
	case <-n.shutdown.refusing.Done():
		_ = server.Shutdown(ctx) // as below
		<-ctx.Done()
	}
	if n.ctx.Err() == nil || n.shutdown.abrupt.Load() {
		return // only this Serve was to end, or all of it at once
	}
	short, cancel := context.WithTimeout(context.Background(), lastResponseTimeout)
	defer cancel()
	_ = server.Shutdown(short) // fails where connections are left, which are cut off
	_ = n.external.conns.wait(short)
}
