package rpcmesh

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// Namespace is a named set of functions, or a group of several, as one node sees it. It registers
// origins and, as a [connect.Transport], calls functions wherever they are. It belongs to its node
// and is not closed. All methods may be called concurrently.
type Namespace struct {
	node      *Node
	name      string
	members   []string // of a group; of a namespace, itself
	isGroup   bool
	bridged   bool
	err       error // the name is not valid
	listing   atomic.Pointer[schemaListing]
	fastPaths atomic.Pointer[fastPaths]
}

var (
	_ connect.Transport = (*Namespace)(nil)
	_ Registrar         = (*Namespace)(nil)
)

// CheckNamespace says what keeps name from being that of a namespace or group: it is 1 to 64 lower-case letters,
// digits, '.', '_' and '-', and begins with a letter or digit. The error is invalid_argument.
func CheckNamespace(name string) error { return asConnect(mesh.CheckNamespace(name)) }

// Name returns the namespace's name.
func (ns *Namespace) Name() string { return ns.name }

// Function is one function that can be called in a namespace, at one origin.
type Function struct {
	// Procedure is "/pkg.Service/Method".
	Procedure string
	// StreamType tells how many messages go each way.
	StreamType connect.StreamType
	// Idempotency says whether calls may be repeated, as the origin registered it.
	Idempotency connect.IdempotencyLevel
	// Origin and OriginName are those of the node that holds it.
	Origin     NodeID
	OriginName string
	// Hops is how many links a call crosses.
	Hops int
	// Policy says how calls are spread over the origins of a replicated function.
	Policy Policy
	// Shadowed tells that another origin of the same function is called instead: it registered first.
	Shadowed bool
	// Incompatible tells that the other origins of a replicated function serve without it: its schema does
	// not fit that of the first one, or has not been compared with that yet. See [Namespace.Replicated].
	Incompatible bool
	// Schema is the hash of what it takes and gives, zero where its origin registered none. See
	// [Namespace.Schema].
	Schema SchemaHash
	// Registered is when the origin registered it, by its node's clock; of one that stands behind an earlier
	// one, by that one's. It is neither before its node's start nor, by this node's clock, in the future.
	Registered time.Time
}

// Functions yields the functions that can be called here as they are when it is called, sorted by
// procedure; a replicated function once for each of its origins, and origins that are shadowed too.
func (ns *Namespace) Functions() iter.Seq[Function] {
	table := ns.node.table.snapshot.Load()
	return func(yield func(Function) bool) {
		for f := range table.Functions(ns.name) {
			if !yield(functionOf(f)) {
				return
			}
		}
	}
}

func functionOf(f mesh.FunctionInfo) Function {
	d := newFunction(f.Function, f.Registered, f.Node, f.Name, f.Hops)
	d.Shadowed, d.Incompatible = f.Shadowed, f.Incompatible
	return d
}

func newFunction(f *mesh.Function, registered int64, node NodeID, name string, hops int) Function {
	return Function{
		Procedure: f.Procedure, StreamType: connect.StreamType(f.StreamType),
		Idempotency: connect.IdempotencyLevel(f.Idempotency),
		Origin:      node, OriginName: name, Hops: hops, Policy: f.Policy,
		Schema: schemaHash(f.Schema), Registered: time.Unix(0, min(registered, time.Now().UnixNano())),
	}
}

// Find returns the function that a call of procedure goes to now, and false where there is none. Of a
// replicated function it is the nearest origin's. It does not wait, nor allocate.
func (ns *Namespace) Find(procedure string) (Function, bool) {
	choice, ok := ns.node.table.snapshot.Load().Find(ns.name, procedure)
	if !ok {
		return Function{}, false
	}
	t := &choice.Targets[0]
	return newFunction(choice.Function, choice.Registered, t.Node, t.Name, t.Hops), true
}

// Services yields the services, "pkg.Service", of which a function can be called in the namespace as it is
// when it is called, sorted.
func (ns *Namespace) Services() iter.Seq[string] {
	return slices.Values(slices.Sorted(maps.Keys(ns.currentListing().services)))
}

// FindService returns a function of a service that can be called in the namespace, and false where there is
// none.
func (ns *Namespace) FindService(name string) (Function, bool) {
	procedure, ok := ns.currentListing().services[name]
	if !ok {
		return Function{}, false
	}
	return ns.Find(procedure)
}

// WaitFor waits until each of procedures can be called from here. It fails with deadline_exceeded or
// canceled when ctx ends first, and says which cannot and which links of this node are down; and with
// failed_precondition when the node is closed.
func (ns *Namespace) WaitFor(ctx context.Context, procedures ...string) error {
	if ns.err != nil {
		return ns.err
	}
	remind := remind(ctx, ns.node.log.Logger)
	defer remind.stop()
	for {
		links, moved := ns.node.links.states(ns.name)
		table, changed := ns.node.table.snapshotAndChange()
		missing := ""
		for _, p := range procedures {
			if _, ok := table.Find(ns.name, p); !ok {
				missing = p
				break
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-changed:
		case <-moved:
		case <-ns.node.life.ctx.Done():
			return errClosed()
		case <-remind.c():
			why := ns.node.calls.absence(table, ns.name, missing, links)
			remind.log("WaitFor waits", "namespace", ns.name, "procedure", missing, "why", why.String())
		case <-ctx.Done():
			why := ns.node.calls.absence(table, ns.name, missing, links)
			return connect.Errorf(coded.OfContext(ctx.Err()), "rpcmesh: %v", &why).WithCause(context.Cause(ctx))
		}
	}
}

// WaitVisible waits until every member that can be reached now has seen what this node has registered
// and withdrawn in the namespace before the call. It fails with deadline_exceeded or canceled when ctx
// ends first, and with failed_precondition when the node is closed.
func (ns *Namespace) WaitVisible(ctx context.Context) error {
	if ns.err != nil {
		return ns.err
	}
	return ns.node.table.waitVisible(ctx, ns.name)
}
