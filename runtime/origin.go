package rpcmesh

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// maxMethods bounds how many functions one registration may have.
const maxMethods = 1 << 16

// Registrar takes functions: a [Namespace], or what [Namespace.Replicated] returns.
type Registrar interface {
	// Register adds methods, all of them or none. See [Namespace.Register].
	Register(methods ...connect.Method) (*Origin, error)
}

// Policy says how calls are spread over the origins of a replicated function. Its String is the policy's name.
type Policy = mesh.Policy

// The policies. All origins of a function must be registered with the same one.
const (
	// PolicySingle is that of a function that is not replicated: one origin takes all calls.
	PolicySingle = mesh.PolicySingle
	// PolicyRoundRobin takes the origins in turn, each caller for itself.
	PolicyRoundRobin = mesh.PolicyRoundRobin
	// PolicyRandom takes any of the origins.
	PolicyRandom = mesh.PolicyRandom
	// PolicyLeastPending takes the one of two random origins that has fewer calls of this caller under way
	// (Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001).
	PolicyLeastPending = mesh.PolicyLeastPending
	// PolicyNearest takes the origin with the fewest links between, in turn among equals.
	PolicyNearest = mesh.PolicyNearest
)

// Origin is a set of functions that were registered together. Its methods may be called concurrently.
type Origin struct {
	ns         *Namespace
	procedures []string
	schemas    []*Schema // of each, nil where there is none
	once       sync.Once
}

// Procedures returns the functions' procedures.
func (o *Origin) Procedures() []string { return slices.Clone(o.procedures) }

// Unregister withdraws the functions from the mesh. Calls that run already go on to their end. A
// second call does nothing.
func (o *Origin) Unregister() error {
	o.once.Do(func() {
		n := o.ns.node
		n.table.unregister(o.ns.name, o.procedures, func() {
			n.origins.remove(o.ns.members, o)
			n.schemas.release(o.schemas)
		})
	})
	return nil
}

// Register makes methods callable by every member of the namespace, all of them or none, at any time.
// Their handlers run with the node's interceptors around them, concurrently. A function that this
// node can see in the namespace already fails with already_exists, naming its owner; a malformed
// procedure with invalid_argument; a closed node with failed_precondition. On a group, the methods are
// registered in every member.
//
// A method whose Spec has its [protoreflect.MethodDescriptor] as Schema, as generated code has it, is
// registered with that schema: see [Namespace.Schema]. A schema that is longer than 4 MiB, or lacks a file
// that it imports, is left out, and the log says so.
func (ns *Namespace) Register(methods ...connect.Method) (*Origin, error) {
	return ns.register(PolicySingle, methods)
}

// Replicated returns a registrar for functions of which several nodes have an origin: calls are spread
// by policy over all that can be reached. All origins of a function must agree on the policy.
//
// Of those that can be reached, the origin that was registered first leads. One whose schema is another
// the method serves beside it only if the difference does not show on the wire, by the rules of buf's category WIRE
// (https://buf.build/docs/breaking/rules): fields may be missing, but not be of another type, say. Its node
// fetches the first one's schema and compares the two. One that is kept out is shown as
// [Function.Incompatible], and its node's log says why.
func (ns *Namespace) Replicated(policy Policy) Registrar { return replicated{ns, policy} }

type replicated struct {
	ns     *Namespace
	policy Policy
}

func (r replicated) Register(methods ...connect.Method) (*Origin, error) {
	return r.ns.register(r.policy, methods)
}

// RegisterServer registers every method of a stock Connect server. Its own interceptors run inside the
// node's. Methods that are registered on s later are not seen.
func (ns *Namespace) RegisterServer(s *connect.Server) (*Origin, error) {
	if s == nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, "rpcmesh: nothing to register: the Server is nil: give it one of connect.NewServer")
	}
	var methods []connect.Method
	for spec := range s.Specs() {
		methods = append(methods, connect.Method{Spec: spec, Handler: dispatch(s)})
	}
	return ns.register(PolicySingle, methods)
}

func dispatch(s *connect.Server) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		info, _ := connect.CallInfoForServerContext(ctx)
		return s.Call(ctx, spec.Procedure, info, stream)
	}
}

func (ns *Namespace) register(policy Policy, methods []connect.Method) (*Origin, error) {
	if ns.err != nil {
		return nil, ns.err
	}
	if err := checkMethods(policy, methods); err != nil {
		return nil, err
	}
	server := connect.NewServer(ns.node.cfg.Interceptors...)
	server.Register(methods...)
	n := ns.node
	adopted, err := n.schemas.register(methods)
	if err != nil {
		n.log.Warn("functions are registered without a schema", attrError(err))
	}
	o := &Origin{ns: ns, schemas: adopted}
	if err := o.register(policy, server, methods); err != nil {
		n.schemas.release(adopted)
		return nil, err
	}
	return o, nil
}

// register adds the origin's functions to the table.
func (o *Origin) register(policy Policy, server *connect.Server, methods []connect.Method) error {
	n, now := o.ns.node, time.Now()
	functions := make([]mesh.Function, len(methods))
	for i, m := range methods {
		o.procedures = append(o.procedures, m.Spec.Procedure)
		functions[i] = mesh.Function{
			Procedure: m.Spec.Procedure, StreamType: uint8(m.Spec.StreamType),
			Idempotency: uint8(m.Spec.IdempotencyLevel),
			Registered:  now.UnixNano(), Policy: policy,
		}
		if s := o.schemas[i]; s != nil {
			functions[i].Schema = hashBytes(s)
		}
	}
	return n.table.register(now, o.ns.name, functions, func() { n.origins.add(o, server, methods) })
}

func checkMethods(policy Policy, methods []connect.Method) error {
	if policy > PolicyNearest {
		return connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: there is no policy %d: use PolicySingle, PolicyRoundRobin, PolicyRandom, PolicyLeastPending or PolicyNearest", policy)
	}
	if len(methods) > maxMethods {
		return connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: register %d methods at a time at most", maxMethods)
	}
	seen := make(map[string]bool, len(methods))
	for _, m := range methods {
		switch {
		case m.Handler == nil:
			return connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: method %q has no handler", m.Spec.Procedure)
		case m.Spec.StreamType > connect.StreamTypeBidi:
			return connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: method %q has no such stream type", m.Spec.Procedure)
		case m.Spec.IdempotencyLevel < 0 || m.Spec.IdempotencyLevel > connect.IdempotencyIdempotent:
			return connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: method %q has no such idempotency level", m.Spec.Procedure)
		case reserved(m.Spec.Procedure):
			return connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: method %q is one that every node serves itself", m.Spec.Procedure)
		case seen[m.Spec.Procedure]:
			return connect.Errorf(connect.CodeAlreadyExists, "rpcmesh: method %q is given twice", m.Spec.Procedure)
		}
		seen[m.Spec.Procedure] = true
	}
	return nil
}

// origins are the functions of this node, and the calls that run in them.
type origins struct {
	identity *identity
	log      *logger
	cfg      *Config

	mu      sync.RWMutex
	methods map[originKey]*localFunction
	changes atomic.Uint64 // how often methods has changed

	active      atomic.Int64 // calls that run here or were made from here
	ownHandlers atomic.Int64 // handlers that run for calls of this node, including calls that have ended
	draining    atomic.Bool
	idle        atomic.Pointer[chan struct{}] // set by drain
	streams     streamRegistry
}

func newOrigins(i *identity, log *logger, cfg *Config) *origins {
	return &origins{identity: i, log: log, cfg: cfg}
}

// streamRegistry is the streams whose handlers run here.
type streamRegistry struct {
	mu           sync.Mutex
	calls        map[*link.ServerCall]struct{}
	interruption error // nil: they have not been interrupted
}

func (s *streamRegistry) add(call *link.ServerCall) {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = map[*link.ServerCall]struct{}{}
	}
	s.calls[call] = struct{}{}
	told := s.interruption
	s.mu.Unlock()
	if told != nil {
		call.CancelContext(told)
	}
}

func (s *streamRegistry) remove(call *link.ServerCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, call)
}

// interrupt ends the contexts of all streams, current and future, with cause.
func (s *streamRegistry) interrupt(cause error) {
	s.mu.Lock()
	s.interruption = cause
	calls := slices.Collect(maps.Keys(s.calls))
	s.mu.Unlock()
	for _, call := range calls {
		call.CancelContext(cause)
	}
}

type originKey struct{ namespace, procedure string }

// localFunction is one function of this node.
type localFunction struct {
	origins   *origins
	origin    *Origin
	spec      connect.Spec
	schema    *Schema // nil: none
	server    *connect.Server
	serveFunc func(*link.ServerCall) // the method serve
	// handler is the function without interceptors, for calls that newUnary makes; nil where there are interceptors.
	handler  connect.ServerFunc
	newUnary func() link.CallHandler // newUnaryCall; nil: there are interceptors, or it is no unary function
}

func (os *origins) lookup(namespace, procedure string) *localFunction {
	os.mu.RLock()
	defer os.mu.RUnlock()
	return os.methods[originKey{namespace, procedure}]
}

func (os *origins) add(o *Origin, server *connect.Server, methods []connect.Method) {
	os.mu.Lock()
	defer os.mu.Unlock()
	defer os.changes.Add(1)
	if os.methods == nil {
		os.methods = map[originKey]*localFunction{}
	}
	for _, ns := range o.ns.members {
		for i, m := range methods {
			added := &localFunction{origins: os, origin: o, spec: m.Spec, schema: o.schemas[i], server: server}
			added.serveFunc = added.serve
			if m.Spec.StreamType == connect.StreamTypeUnary && len(os.cfg.Interceptors) == 0 {
				added.handler, added.newUnary = m.Handler, added.newUnaryCall
			}
			os.methods[originKey{ns, m.Spec.Procedure}] = added
		}
	}
}

// remove removes the functions that are still o's.
func (os *origins) remove(namespaces []string, o *Origin) {
	os.mu.Lock()
	defer os.mu.Unlock()
	defer os.changes.Add(1)
	for _, ns := range namespaces {
		for _, p := range o.procedures {
			key := originKey{ns, p}
			if m := os.methods[key]; m != nil && m.origin == o {
				delete(os.methods, key)
			}
		}
	}
}

func (os *origins) beginCall() { os.active.Add(1) }

func (os *origins) endCall() {
	if os.active.Add(-1) == 0 && os.draining.Load() {
		select {
		case *os.idle.Load() <- struct{}{}:
		default:
		}
	}
}

// drain waits until no call is active or ctx ends.
func (os *origins) drain(ctx context.Context, remind *reminder) error {
	idle := make(chan struct{}, 1)
	os.idle.CompareAndSwap(nil, &idle)
	os.draining.Store(true)
	for os.active.Load() > 0 {
		select {
		case <-*os.idle.Load():
		case <-remind.c():
			remind.log("Shutdown waits for calls", "calls", os.active.Load())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
