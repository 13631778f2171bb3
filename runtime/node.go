package rpcmesh

import (
	"crypto/ed25519"
	"crypto/rand"
	"runtime/debug"
	"slices"
	"sync"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
)

// DefaultNamespace is the namespace that a name of "" stands for. Every node is a member of it.
const DefaultNamespace = "default"

// Node is one member of a mesh: it holds origins, links to other nodes, and calls functions anywhere
// its namespaces reach. All its methods may be called concurrently. The creator closes it, with
// [Node.Shutdown] or [Node.Close].
//
// Its work is done by its parts, each of which knows only parts that stand before it.
type Node struct {
	cfg         Config
	log         *logger
	identity    *identity
	life        *lifetime
	links       *linkSet
	table       *table
	origins     *origins
	router      *router
	linker      *linker
	schemas     *schemaStore
	comparisons *schemaComparisons
	calls       *calls
	server      *server
}

// NewNode validates cfg and returns a node that is no one's member yet: nothing listens and nothing
// is dialled before [Node.Serve], [Node.Mount] or [Node.Link]. Errors are invalid_argument and name
// the field.
func NewNode(cfg Config) (*Node, error) {
	return newNode(cfg, false)
}

func newNode(cfg Config, proxy bool) (*Node, error) {
	named := cfg.Name != ""
	if err := cfg.checkAuthentication(proxy); err != nil {
		return nil, err
	}
	cfg, err := withDefaults(cfg)
	if err != nil {
		return nil, err
	}
	secrets, err := newSecretList(cfg.Secret, cfg.Secrets)
	if err != nil {
		return nil, err
	}
	cfg.Secret, cfg.Secrets = "", nil // nothing that prints the node shows them
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, "rpcmesh: no key for this start of the node").WithCause(err)
	}
	n := &Node{cfg: cfg, life: newLifetime()}
	n.identity = newIdentity(&n.cfg, key, named, proxy)
	n.log = newLogger(cfg.Logger, n.identity.name)
	n.cfg.Dial = guard.Dial(n.log.Logger, "Config.Dial", cfg.Dial)
	n.cfg.TLS = guard.TLS(n.log.Logger, "Config.TLS", cfg.TLS)
	n.cfg.DialTLS = guard.TLS(n.log.Logger, "Config.DialTLS", cfg.DialTLS)
	n.links = newLinkSet(&n.cfg)
	n.table = newTable(n.identity, n.life, n.log, n.links)
	n.origins = newOrigins(n.identity, n.log, &n.cfg)
	n.router = newRouter(n.identity, n.life, n.table, n.origins)
	n.linker = newLinker(n.identity, n.life, n.log, &n.cfg, n.table, n.links, n.router, secrets)
	n.schemas = newSchemaStore(n.identity, n.life, &n.cfg, n.table, n.origins)
	n.comparisons = newSchemaComparisons(n.identity, n.life, n.log, n.table, n.origins, n.schemas)
	n.calls = newCalls(n.identity, n.life, n.log, &n.cfg, n.table, n.links, n.origins, n.router, n.linker)
	n.server = newServer(n.identity, n.life, n.log, &n.cfg, n.linker)
	n.Mount(&n.server.handlers)
	n.Namespace(DefaultNamespace)
	n.life.tasks.Go(n.table.runExchange)
	return n, nil
}

// ID returns the node's id.
func (n *Node) ID() NodeID { return n.identity.id }

// Name returns the node's name: [Config.Name], or the one made up for it.
func (n *Node) Name() string { return n.identity.name }

// Namespace returns the namespace called name, of which the node is a member from now on. "" is
// [DefaultNamespace]. A name is 1 to 64 lower-case letters, digits, '.', '_' and '-', and begins with a letter or
// digit: see [CheckNamespace]. With any other name the result has no functions, and its methods that can fail do so
// with invalid_argument. A name that [Node.Group] declared returns the group.
func (n *Node) Namespace(name string) *Namespace {
	if name == "" {
		name = DefaultNamespace
	}
	ns, ok := n.table.namespace(name)
	if ok {
		return ns
	}
	return n.table.declare(&Namespace{node: n, name: name, members: []string{name}})
}

// FindNamespace returns the namespace or group called name if the node is a member of it, and false
// otherwise: unlike [Node.Namespace] it does not join.
func (n *Node) FindNamespace(name string) (*Namespace, bool) {
	if name == "" {
		name = DefaultNamespace
	}
	return n.table.namespace(name)
}

// Limits returns the node's limits, [Config.Limits] with its defaults filled in.
func (n *Node) Limits() Limits { return n.cfg.Limits }

// GroupOption changes what a group does; see [Bridged].
type GroupOption func(*groupOptions)

type groupOptions struct{ bridged bool }

// Bridged lifts the separation of a group's members: the node passes each member's table on into the
// others, and calls cross between them here.
func Bridged() GroupOption { return func(o *groupOptions) { o.bridged = true } }

// Group declares that this node sees members as one namespace called name: a call takes the first
// member with a route to its function, and what is registered on the group is registered in every
// member. The node becomes a member of each. Declaring the same group again returns it; declaring
// another one by its name, or a name that is a namespace already, fails with already_exists.
func (n *Node) Group(name string, members []string, opts ...GroupOption) (*Namespace, error) {
	var o groupOptions
	for _, opt := range opts {
		opt(&o)
	}
	return n.table.declareGroup(&Namespace{
		node: n, name: name, members: slices.Clone(members), isGroup: true, bridged: o.bridged,
	})
}

// Close leaves the mesh at once: it ends every link and every call, and returns when every goroutine
// of the node has, handlers included: a handler that ignores its context holds Close up.
func (n *Node) Close() error {
	n.life.shutdown.abrupt.Store(true)
	n.closeNow()
	return nil
}

func (n *Node) closeNow() {
	n.life.shutdown.cancelAll()
	sessions, watchers := n.table.close()
	n.life.closeSpawn()
	var goodbyes sync.WaitGroup
	for _, s := range sessions {
		goodbyes.Go(func() { s.link.Close(&linkv1.Goodbye{Leaving: !n.identity.proxy}) })
	}
	goodbyes.Wait()
	if !n.life.shutdown.abrupt.Load() {
		n.calls.local.close()
		n.server.awaitLastResponses()
	}
	n.life.cancel()
	n.calls.local.close()
	for _, w := range watchers {
		w.stop()
	}
	n.life.tasks.Wait()
	n.linker.workers.Wait()
}

// Version returns the version of rpcmesh that this process runs, as its build says: "unknown" where that does not.
func Version() string { return version() }

var version = sync.OnceValue(func() string {
	const path = "github.com/rpcmesh/rpcmesh"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == path {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}
	return "unknown"
})
