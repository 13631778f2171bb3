package rpcmesh

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// nodeMux is what [Node.Serve] and [Node.Handler] serve. It knows which requests no other pattern than a gateway's
// can match, without asking [http.ServeMux], so that those need not become an [http.Request].
type nodeMux struct {
	http.ServeMux

	mu       sync.Mutex
	patterns []muxPattern // but the gateway's; appended to, never changed
	buffered h2serve.BufferedHandlers
	gateway  atomic.Pointer[mountedGateway] // nil: there is none
}

// mountedGateway is the gateway of a node, and the patterns that come before it. It never changes.
type mountedGateway struct {
	buffered h2serve.BufferedHandlers
	patterns []muxPattern
}

// Handle is that of [http.ServeMux].
func (m *nodeMux) Handle(pattern string, handler http.Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ServeMux.Handle(pattern, handler)
	m.patterns = append(m.patterns, parseMuxPattern(pattern))
	m.publishLocked()
}

// mountGateway has gateway serve what no other pattern matches.
func (m *nodeMux) mountGateway(gateway http.Handler, buffered h2serve.BufferedHandlers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ServeMux.Handle("/", gateway)
	m.buffered = buffered
	m.publishLocked()
}

func (m *nodeMux) publishLocked() {
	if m.buffered != nil {
		m.gateway.Store(&mountedGateway{m.buffered, slices.Clip(m.patterns)})
	}
}

// hasGateway reports whether there is a gateway.
func (m *nodeMux) hasGateway() bool { return m.gateway.Load() != nil }

// buffers returns what a request may be offered to before a handler: the gateway, where no other pattern can match.
func (m *nodeMux) buffers(r *h2serve.Request) h2serve.BufferedHandlers {
	g := m.gateway.Load()
	path, _, _ := strings.Cut(r.Path, "?")
	if g == nil || strings.Contains(path, "%") {
		return nil
	}
	for i := range g.patterns {
		if g.patterns[i].mayMatch(r.Method, r.Authority, path) {
			return nil
		}
	}
	return g.buffered
}

// muxPattern is the part of a pattern of [http.ServeMux] by which requests are told that cannot match it.
type muxPattern struct {
	method, host string // empty: any
	path         string // the whole, or what it begins with
	prefix       bool
}

// parseMuxPattern takes a pattern that [http.ServeMux] has taken: [METHOD ][HOST]/[PATH].
func parseMuxPattern(pattern string) (p muxPattern) {
	if i := strings.IndexAny(pattern, " \t"); i >= 0 {
		p.method, pattern = pattern[:i], strings.TrimLeft(pattern[i:], " \t")
	}
	slash := strings.IndexByte(pattern, '/')
	p.host, p.path = pattern[:slash], pattern[slash:]
	path, end := strings.CutSuffix(p.path, "{$}")
	p.path, p.prefix = path, !end && strings.HasSuffix(path, "/")
	if i := strings.IndexAny(p.path, "{%"); i >= 0 {
		p.path, p.prefix = p.path[:i], true
	}
	return p
}

// mayMatch reports whether a request may match the pattern, or be redirected to it. The path has no escapes.
func (p *muxPattern) mayMatch(method, authority, path string) bool {
	switch {
	case p.method != "" && p.method != method && (p.method != http.MethodGet || method != http.MethodHead):
		return false
	case p.host != "" && p.host != hostWithoutPort(authority):
		return false
	case p.prefix && strings.HasPrefix(path, p.path):
		return true
	}
	return path == p.path || path == strings.TrimSuffix(p.path, "/")
}

// hostWithoutPort is what [http.ServeMux] takes for the host of a request.
func hostWithoutPort(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority
}
