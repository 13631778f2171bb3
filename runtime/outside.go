package rpcmesh

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
)

// outside is what a node's Serves have of others than nodes: of callers from outside, for the most part.
type outside struct {
	conns     tally
	requests  tally       // no link's
	elsewhere atomic.Bool // calls have come by a server that is not the node's
}

// tally counts what is under way. It may be used concurrently.
type tally struct {
	mu   sync.Mutex
	n    int
	none signal
}

func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
}

func (t *tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 {
		t.none.fire()
	}
}

// wait waits until nothing is under way, or ctx ends.
func (t *tally) wait(ctx context.Context) error {
	t.mu.Lock()
	none := t.none.wait()
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

// request is one request by HTTP.
type request struct {
	node *Node
	once sync.Once
}

type requestKey struct{}

// end is called when the request is answered, or turns out to be a link.
func (r *request) end() { r.once.Do(r.node.outside.requests.end) }

// counted has the requests counted that h serves.
func (n *Node) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.outside.requests.begin()
		req := &request{node: n}
		defer req.end()
		if n.ending.draining.Err() != nil {
			w.Header().Set("Connection", "close") // which net/http makes a GOAWAY over HTTP/2
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, req)))
	})
}

// uncount has the request of ctx counted as a link.
func uncount(ctx context.Context) {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		r.end()
	}
}

// countConn is an [http.Server.ConnState] that counts connections, and releases what links admitted.
func (n *Node) countConn(links *h2link.Listener) func(net.Conn, http.ConnState) {
	return func(nc net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			n.outside.conns.begin()
		case http.StateClosed, http.StateHijacked:
			n.outside.conns.end()
			links.Release(nc)
		case http.StateActive, http.StateIdle:
		}
	}
}

// windUp ends a server in order when the node drains, and returns when ctx has ended: then all that is left may be cut
// off.
func (n *Node) windUp(ctx context.Context, links *h2link.Listener, server *http.Server) {
	select {
	case <-ctx.Done():
		return
	case <-n.ending.draining.Done():
	}
	links.Drain()
	select {
	case <-ctx.Done():
	case <-n.ending.refusing.Done():
		_ = server.Shutdown(ctx) // as below
		<-ctx.Done()
	}
	if n.ctx.Err() == nil || n.ending.abrupt.Load() {
		return // only this Serve was to end, or all of it at once
	}
	short, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	_ = server.Shutdown(short) // fails where connections are left, which are cut off
	_ = n.outside.conns.wait(short)
}
