package rpcmesh

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
	"github.com/rpcmesh/rpcmesh/runtime/internal/quiet"
)

// DefaultNamespace is the namespace that a name of "" stands for. Every node is a member of it.
const DefaultNamespace = "default"

// Node is one member of a mesh: it holds origins, links to other nodes, and calls functions anywhere
// its namespaces reach. All its methods may be called concurrently. The creator closes it, with
// [Node.Shutdown] or [Node.Close].
type Node struct {
	cfg         Config
	id          NodeID
	name        string
	ownCaller   link.Caller // of its own calls
	incarnation uint64
	key         ed25519.PrivateKey // of this start
	secrets     atomic.Pointer[secretList]
	leavesHost  atomic.Bool // from beyond the host, or it links to there
	warnings    onceWarnings
	proxy       bool // a [Proxy]'s: no member, tells nothing
	log         *slog.Logger

	ctx    context.Context // the node's life; its cancelling ends links and serving
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of the node but handlers

	workers     *link.Workers
	budget      *link.Budget
	conns       connections
	quiet       quiet.Logger
	table       atomic.Pointer[mesh.Snapshot]
	sessions    atomic.Pointer[map[mesh.LinkID]*session] // those of table; replaced under mu, never changed
	exchange    tableExchange
	origins     origins
	localCalls  localCalls
	balancer    balancer
	retries     retryBudget
	relaying    atomic.Bool // calls are relayed
	leaving     atomic.Bool // the node is shutting down, or closed
	suggestions suggester
	addresses   addressMonitor
	schemas     schemaStore
	symbols     symbols

	comparisons schemaComparisons

	handlers    http.ServeMux // what Serve and Handler have besides links; see Handle
	hasBuffered atomic.Bool   // one of them is an h2serve.Source
	external    externalTraffic
	shutdown    shutdownSignals

	unaryPool sync.Pool // of *shortUnary

	hasLinked atomic.Bool // a link that the node dials has been ready

	// What a call may have to wait for, which has a deadline: mu may be held for long when tables are large.
	callMu         sync.Mutex
	tableChanged   broadcast // the table has changed
	spawnClosed    bool      // nothing more is spawned
	links          map[*Link]struct{}
	syncing        map[*session]struct{} // from others, whose tables are still to come
	groups         []*Namespace
	linksChanged   broadcast                 // a link came up, told its table, or ended
	redialLimiters map[string]*redialLimiter // by host that is linked to

	mu            sync.Mutex
	phase         phase
	core          *mesh.Core
	lastLink      mesh.LinkID
	liveSessions  map[mesh.LinkID]*session
	sessionsStale bool // sessions is not what live is
	namespaces    map[string]*Namespace
	watchers      map[*watcher]struct{}
	coreChanged   broadcast // the core has taken something in
}

type phase int

const (
	running phase = iota
	draining
	closed
)

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
	n := &Node{
		cfg: cfg, name: cfg.Name, id: idOf(cfg.Name), key: key, proxy: proxy,
		incarnation:    uint64(time.Now().UnixNano()),
		workers:        link.NewWorkers(),
		budget:         link.NewBudget(cfg.Limits.NodeMemory),
		links:          map[*Link]struct{}{},
		syncing:        map[*session]struct{}{},
		redialLimiters: map[string]*redialLimiter{},
		namespaces:     map[string]*Namespace{},
		watchers:       map[*watcher]struct{}{},
		liveSessions:   map[mesh.LinkID]*session{},
		exchange:       tableExchange{wake: make(chan struct{}, 1)},
	}
	if !named {
		n.name = defaultName()
	}
	if !named || proxy {
		n.id = randomID()
	}
	n.ownCaller = link.Caller{Node: link.NodeID(n.id), Name: link.CallerText(n.name)}
	n.secrets.Store(&secrets)
	n.log = guard.Logger(cfg.Logger).With("node", n.name)
	n.cfg.Dial = guard.Dial(n.log, "Config.Dial", cfg.Dial)
	n.cfg.TLS = guard.TLS(n.log, "Config.TLS", cfg.TLS)
	n.cfg.DialTLS = guard.TLS(n.log, "Config.DialTLS", cfg.DialTLS)
	n.quiet.To, n.conns.limits = n.log, &n.cfg.Limits
	if cfg.Dial == nil {
		n.addresses.list = net.InterfaceAddrs
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.shutdown.init()
	n.core = mesh.New(mesh.Config{
		ID: mesh.NodeID(n.id), Incarnation: n.incarnation, Key: key[ed25519.PrivateKeySize-ed25519.PublicKeySize:],
		Info: n.info(), Observer: proxy,
	})
	n.sessions.Store(&map[mesh.LinkID]*session{})
	n.relaying.Store(true)
	n.publishLocked()
	n.Mount(&n.handlers)
	n.Namespace(DefaultNamespace)
	n.tasks.Go(n.runExchange)
	return n, nil
}

// ID returns the node's id.
func (n *Node) ID() NodeID { return n.id }

// Name returns the node's name: [Config.Name], or the one made up for it.
func (n *Node) Name() string { return n.name }

// Namespace returns the namespace called name, of which the node is a member from now on. "" is
// [DefaultNamespace]. A name is 1 to 64 lower-case letters, digits, '.', '_' and '-'; with another one
// every method of the result fails with invalid_argument. A name that [Node.Group] declared returns
// the group.
func (n *Node) Namespace(name string) *Namespace {
	if name == "" {
		name = DefaultNamespace
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if ns, ok := n.namespaces[name]; ok {
		return ns
	}
	ns := &Namespace{node: n, name: name, members: []string{name}}
	ns.err = asConnect(n.core.Declare(time.Now(), name))
	if ns.err == nil {
		n.namespaces[name] = ns
		n.publishLocked()
	}
	return ns
}

// FindNamespace returns the namespace or group called name if the node is a member of it, and false
// otherwise: unlike [Node.Namespace] it does not join.
func (n *Node) FindNamespace(name string) (*Namespace, bool) {
	if name == "" {
		name = DefaultNamespace
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	ns, ok := n.namespaces[name]
	return ns, ok
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
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase != running {
		return nil, errClosed()
	}
	if ns, ok := n.namespaces[name]; ok {
		if !ns.isGroup || ns.bridged != o.bridged || !slices.Equal(ns.members, members) {
			return nil, connect.Errorf(connect.CodeAlreadyExists,
				"rpcmesh: %q is a namespace of this node already, or another group", name)
		}
		return ns, nil
	}
	if err := n.core.DeclareGroup(time.Now(), name, members, o.bridged); err != nil {
		return nil, asConnect(err)
	}
	n.publishLocked()
	ns := &Namespace{node: n, name: name, members: slices.Clone(members), isGroup: true, bridged: o.bridged}
	n.namespaces[name] = ns
	n.callMu.Lock()
	n.groups = append(n.groups, ns)
	n.callMu.Unlock()
	return ns, nil
}

// Close leaves the mesh at once: it ends every link and every call, and returns when every goroutine
// of the node has, handlers included: a handler that ignores its context holds Close up.
func (n *Node) Close() error {
	n.shutdown.abrupt.Store(true)
	n.closeNow()
	return nil
}

func (n *Node) closeNow() {
	n.shutdown.cancelAll()
	n.mu.Lock()
	if n.phase == running && !n.proxy {
		n.core.Leave(time.Now()) // so that those behind the neighbours know, too
		n.publishLocked()
	}
	n.phase = closed
	n.leaving.Store(true)
	sessions := maps.Clone(n.liveSessions)
	watchers := maps.Clone(n.watchers)
	n.mu.Unlock()
	n.callMu.Lock()
	n.spawnClosed = true
	n.callMu.Unlock()
	var goodbyes sync.WaitGroup
	for _, s := range sessions {
		goodbyes.Go(func() { s.link.Close(&linkv1.Goodbye{Leaving: !n.proxy}) })
	}
	goodbyes.Wait()
	n.awaitLastResponses()
	n.cancel()
	n.localCalls.close()
	for w := range watchers {
		w.stop()
	}
	n.tasks.Wait()
	n.workers.Wait()
}

func (n *Node) isClosed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.phase == closed
}

// spawn runs f on a goroutine that Close waits for, unless the node is closed.
func (n *Node) spawn(f func()) bool {
	n.callMu.Lock()
	defer n.callMu.Unlock()
	if n.spawnClosed {
		return false
	}
	n.tasks.Go(f)
	return true
}

func (n *Node) info() *linkv1.NodeInfo {
	return &linkv1.NodeInfo{
		Name: n.name, Version: Version, Addresses: n.cfg.Addresses, Metadata: n.cfg.Metadata,
	}
}

// publishLocked finds routes anew and publishes what has changed. It is for what is to be seen at once: all else
// is left to the exchange. The caller holds n.mu.
func (n *Node) publishLocked() {
	n.exchange.due = notDue
	snapshot := n.core.Snapshot()
	if n.sessionsStale { // before the snapshot that names them
		sessions := maps.Clone(n.liveSessions)
		n.sessions.Store(&sessions)
		n.sessionsStale = false
		n.forgetFastPathsLocked()
	}
	if n.table.Swap(snapshot) != snapshot {
		n.forgetFastPathsLocked()
		n.callMu.Lock()
		n.tableChanged.fire()
		n.callMu.Unlock()
	}
	n.coreChanged.fire()
	for _, id := range n.core.Pending() {
		if s := n.liveSessions[id]; s != nil {
			n.exchange.markDirty(s)
		}
	}
	for _, e := range n.core.Events() {
		n.handleEventLocked(e)
	}
}

// tableAndChange returns the current table and a channel that closes when it changes.
func (n *Node) tableAndChange() (*mesh.Snapshot, <-chan struct{}) {
	n.callMu.Lock()
	defer n.callMu.Unlock()
	return n.table.Load(), n.tableChanged.wait()
}

// Version is the version of rpcmesh that this process runs, as its build says.
var Version = sync.OnceValue(func() string {
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
})()
