package adopt

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"sync"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
)

// Server is a server whose functions a node offers. All its methods may be called concurrently. The caller
// of [New] closes it.
type Server struct {
	cfg         Config
	url         *url.URL
	node        *rpcmesh.Node
	ns          *rpcmesh.Namespace
	reg         rpcmesh.Registrar
	log         *slog.Logger
	backend     *backend
	client      *connect.Client // of backend, for the server's own services
	health      *health
	fixedSchema *schema // of Config.Descriptors, else nil

	ctx         context.Context // ends with Close
	cancel      context.CancelFunc
	monitorDone chan struct{} // monitor has returned

	mu            sync.Mutex
	schema        *schema // what was read last, nil before
	origins       map[string]*rpcmesh.Origin
	states        map[string]state // by service; "" is the whole server
	refused       map[string]error // services that another node has, or that the node refuses
	up            bool
	err           error // why it is not up, or not whole
	permanent     bool  // err will not go away without someone's doing
	changed       chan struct{}
	reconcileSoon chan struct{} // states have changed
}

// New adopts the server at rawURL, http or https with a path if it has one: node registers its functions
// in cfg's namespace while the server is up. It returns before the server has been found; see
// [Server.Ready]. A malformed URL, Config or descriptor set is invalid_argument.
func New(node *rpcmesh.Node, rawURL string, cfg Config) (*Server, error) {
	if node == nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, "adopt: the node is nil: give it one of rpcmesh.NewNode")
	}
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if cfg, err = resolved(cfg); err != nil {
		return nil, err
	}
	a := &Server{
		cfg: cfg, url: u, node: node, ns: node.Namespace(cfg.Namespace), log: cfg.Logger.With("adopted", u.String()),
		monitorDone: make(chan struct{}), origins: map[string]*rpcmesh.Origin{}, states: map[string]state{}, refused: map[string]error{},
		changed: make(chan struct{}), reconcileSoon: make(chan struct{}, 1),
	}
	a.reg = a.ns
	if cfg.Policy != rpcmesh.PolicySingle {
		a.reg = a.ns.Replicated(cfg.Policy)
	}
	if _, err := a.reg.Register(); err != nil {
		return nil, err // the namespace's name, the policy, or a node that is closed
	}
	if cfg.Descriptors != nil {
		set, err := parseSet(cfg.Descriptors, &cfg.Limits)
		if err != nil {
			return nil, err
		}
		if a.fixedSchema, err = buildSchema(set, cfg.Services, &cfg.Limits); err != nil {
			return nil, err
		}
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.backend = newBackend(a)
	a.client = connect.NewClient(a.backend)
	a.health = &health{transport: a.backend, timeout: cfg.ProbeTimeout}
	go func() {
		defer close(a.monitorDone)
		a.monitor()
	}()
	return a, nil
}

// Functions yields the procedures that are registered as it is called, sorted.
func (a *Server) Functions() iter.Seq[string] {
	a.mu.Lock()
	defer a.mu.Unlock()
	var procedures []string
	for _, o := range a.origins {
		procedures = append(procedures, o.Procedures()...)
	}
	slices.Sort(procedures)
	return slices.Values(procedures)
}

// Ready waits until the server is up and the functions of all its services that say they serve are
// registered. It returns at once what will not pass by itself, though the server is tried on: a schema that
// cannot be read or does not build (invalid_argument), a function that another node has (already_exists).
// It fails with deadline_exceeded or canceled, and the last failure, when ctx ends first; and with
// failed_precondition once Close was called.
func (a *Server) Ready(ctx context.Context) error {
	for {
		a.mu.Lock()
		up, err := a.up, a.err
		permanent, changed := a.permanent, a.changed
		a.mu.Unlock()
		switch {
		case permanent:
			return err
		case up && err == nil:
			return nil
		}
		select {
		case <-changed:
		case <-a.monitorDone:
			return connect.NewError(connect.CodeFailedPrecondition, "adopt: the server is no longer adopted")
		case <-ctx.Done():
			return a.notReady(ctx, err)
		}
	}
}

func (a *Server) notReady(ctx context.Context, last error) error {
	text := fmt.Sprintf("adopt: the server at %s is not up", a.url)
	if last != nil {
		text += ": " + last.Error()
	}
	return connect.NewError(coded.OfContext(ctx.Err()), text).WithCause(context.Cause(ctx))
}

// Close withdraws the functions, ends the calls that are with the server (unavailable), closes the
// connections and returns when all that has ended. A second call does the same.
func (a *Server) Close() error {
	a.cancel()
	<-a.monitorDone
	a.backend.close()
	return nil
}

// setStatus records how things stand and wakes those who wait for it.
func (a *Server) setStatus(up bool, err error, permanent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.up, a.err = up, err
	a.permanent = permanent
	close(a.changed)
	a.changed = make(chan struct{})
}

// withdraw takes the functions of all services but those kept out of the mesh.
func (a *Server) withdraw(kept func(service string) bool) {
	a.mu.Lock()
	gone := map[string]*rpcmesh.Origin{}
	for name, o := range a.origins {
		if !kept(name) {
			gone[name] = o
			delete(a.origins, name)
		}
	}
	a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		_ = gone[name].Unregister() // always nil
	}
}
