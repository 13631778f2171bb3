package rpcmesh_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// world is a caller and an origin with some distance between, in fake time.
type world struct {
	*testing.T
	*rpcmeshtest.Cluster
	caller connect.Transport
	origin *rpcmesh.Namespace
	path   []string  // the nodes of a call's way, from the caller to the origin
	first  [2]string // the hosts at the ends of its first link
}

// serve registers srv at the origin. The caller knows it when serve returns.
func (w *world) serve(srv greetv1rpcmesh.GreeterServer) greetv1rpcmesh.GreeterClient {
	w.Helper()
	register(w, w.origin, srv)
	synctest.Wait()
	return greetv1rpcmesh.NewGreeterClient(w.caller)
}

// links is how many links a call crosses.
func (w *world) links() int { return len(w.path) - 1 }

// distances are the ways that a call can go.
var distances = []struct {
	name string
	path []string // from the caller to the origin
	// toward tells that each node dials the next one towards the origin; else it is dialled by it.
	toward  bool
	proxy   bool // the first of path is a proxy
	mounted bool // the nodes are mounted on servers of net/http, and do not serve themselves
	raw     bool // unary calls are of package rawcall
}{
	{"local", []string{"a"}, true, false, false, false},
	{"one link", []string{"a", "b"}, true, false, false, false},
	{"one link, to the side that dialled", []string{"a", "b"}, false, false, false, false},
	{"one link, mounted", []string{"a", "b"}, true, false, true, false},
	{"one relay", []string{"a", "b", "c"}, true, false, false, false},
	{"one relay, to the side that dialled", []string{"a", "b", "c"}, false, false, false, false},
	{"one relay, mounted, to the side that dialled", []string{"a", "b", "c"}, false, false, true, false},
	{"four relays", []string{"a", "b", "c", "d", "e", "f"}, true, false, false, false},
	{"four relays, to the side that dialled", []string{"a", "b", "c", "d", "e", "f"}, false, false, false, false},
	{"proxy", []string{"p", "a"}, true, true, false, false},
	{"local, raw", []string{"a"}, true, false, false, true},
	{"one link, raw", []string{"a", "b"}, true, false, false, true},
	{"one relay, raw, to the side that dialled", []string{"a", "b", "c"}, false, false, false, true},
	{"proxy and one relay", []string{"p", "a", "b"}, true, true, false, false},
}

// everywhere runs test at every distance, each in a bubble of its own. configure changes the
// configuration of every node and proxy.
func everywhere(t *testing.T, test func(w *world), configure ...func(*rpcmesh.Config)) {
	for _, d := range distances {
		t.Run(d.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{T: t, Cluster: rpcmeshtest.New(t), path: d.path}
				nodes := d.path
				if d.proxy {
					nodes = nodes[1:]
				}
				for _, name := range nodes {
					w.Node(name, configure...).Namespace("public")
				}
				link := w.Link
				if d.mounted {
					link = w.linkMounted
				}
				for i := range len(nodes) - 1 {
					if d.toward {
						link(nodes[i], nodes[i+1], "public")
					} else {
						link(nodes[i+1], nodes[i], "public")
					}
				}
				w.origin = w.Node(nodes[len(nodes)-1]).Namespace("public")
				w.caller = w.Node(nodes[0]).Namespace("public")
				if d.proxy {
					w.caller = w.Proxy("p", nodes[0], "public", proxied(configure))
				}
				if d.raw {
					w.caller = raw(w.Cluster, nodes[0])
				}
				w.first = firstLink(d.path, d.toward, d.mounted)
				test(w)
			})
		})
	}
}

// firstLink returns the hosts between which the first link of a path is.
func firstLink(path []string, toward, mounted bool) [2]string {
	if len(path) == 1 {
		return [2]string{}
	}
	dialler, listener := path[1], path[0]
	if toward {
		dialler, listener = listener, dialler
	}
	if mounted {
		listener += "-mounted"
	}
	return [2]string{dialler, listener}
}

// linkMounted is Link to a server of net/http on which the node called to is mounted.
func (w *world) linkMounted(from, to string, namespaces ...string) *rpcmesh.Link {
	w.Helper()
	l, err := w.Listen(to + "-mounted")
	if err != nil {
		w.Fatal(err)
	}
	server := &http.Server{Handler: w.Node(to).Handler(), Protocols: h2c()}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // ends with the server
	w.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return mustLink(w, w.Node(from), rpcmeshtest.URL(to+"-mounted"), namespaces...)
}

// proxied gives a proxy what configure gives a node.
func proxied(configure []func(*rpcmesh.Config)) func(*rpcmesh.ProxyConfig) {
	return func(p *rpcmesh.ProxyConfig) {
		n := rpcmesh.Config{Secret: p.Secret}
		for _, f := range configure {
			f(&n)
		}
		p.Secret, p.Limits, p.CallTimeout, p.Keepalive = n.Secret, n.Limits, n.CallTimeout, n.Keepalive
	}
}

// chain starts nodes a, b, ... of which each links to the one before, and returns their names: the
// chain of a <- b <- c.
func chain(c *rpcmeshtest.Cluster, size int, namespaces ...string) []string {
	names := make([]string, size)
	for i := range names {
		names[i] = fmt.Sprintf("%c", 'a'+i)
		c.Node(names[i])
		if i > 0 {
			c.Link(names[i], names[i-1], namespaces...)
		}
	}
	return names
}

// inBubble runs test with an empty cluster in fake time.
func inBubble(t *testing.T, test func(t *testing.T, c *rpcmeshtest.Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, rpcmeshtest.New(t)) })
}
