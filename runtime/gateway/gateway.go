package gateway

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/grpc"
	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/quiet"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// Gateway lets callers from outside into the namespaces of a node. It is an [http.Handler] and belongs to
// nobody: closing the node ends its calls. It may be used concurrently.
type Gateway struct {
	cfg         Config
	node        *rpcmesh.Node
	entry       rawcall.GatewayNode                           // node
	namespaces  map[string]*atomic.Pointer[rpcmesh.Namespace] // nil until the node is seen to be a member
	pump        bridge.Pump
	jsonMemory  *memoryBudget // for converting messages to JSON or back
	handlers    handlers
	builtin     builtinServices
	errors      *connecthttp.ErrorWriter
	front       http.Handler // serve, behind CORS
	quiet       quiet.Logger
	calls       *callCounter
	dropHeaders *headerSet // callers' headers that are dropped
}

// New returns a gateway to namespaces of node, as a handler for a server of your own; [Mount] has the node serve it.
// It fails with invalid_argument where cfg has a mistake.
//
// The server that it is part of decides on TLS, versions of HTTP and the size of headers. A middleware
// between must not hide the deadlines and the flushing of [http.ResponseController] (an Unwrap method
// does). Under a path, put [http.StripPrefix] before it.
func New(node *rpcmesh.Node, cfg Config) (*Gateway, error) {
	if node == nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, "gateway: the node is nil: give it one of rpcmesh.NewNode")
	}
	cfg, err := withDefaults(cfg)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		cfg: cfg, node: node, entry: rawcall.GatewayNodeOf(node), namespaces: map[string]*atomic.Pointer[rpcmesh.Namespace]{},
		calls: newCalls(cfg.MaxCalls, cfg.MaxCallsPerCaller),
		quiet: quiet.Logger{To: guard.Logger(cfg.Logger).With("gateway", node.Name())},
	}
	g.dropHeaders, err = newHeaderSet(cfg.DropHeaders)
	if err != nil {
		return nil, err
	}
	for _, name := range append([]string{cfg.Namespace}, cfg.Namespaces...) {
		g.namespaces[name] = new(atomic.Pointer[rpcmesh.Namespace])
	}
	if g.cfg.MaxMessage == 0 {
		g.cfg.MaxMessage = node.Limits().MaxMessage
	}
	if g.cfg.MaxJSON == 0 {
		g.cfg.MaxJSON = 4 * min(node.Limits().MaxMessage, 1<<28)
	}
	g.jsonMemory = newMemoryBudget(jsonMemoryFactor * min(g.cfg.MaxJSON, math.MaxInt/jsonMemoryFactor))
	if cfg.Tokens != nil {
		g.cfg.Authorize = cfg.Tokens.Authorize
	}
	g.pump = bridge.Pump{To: meshTransport{}, Skip: g.skip, StopReceiving: stopReceiving, Discreet: !cfg.NameNodes}
	options := []connecthttp.Option{
		connecthttp.WithCodecs(new(bridge.Codec), jsonCodec{}),
		connecthttp.WithReadMaxBytes(g.cfg.MaxMessage),
	}
	g.errors = connecthttp.NewErrorWriter(options...)
	g.handlers = newHandlers(g.call, options)
	g.builtin.noReflection = cfg.NoReflection
	g.builtin.noHealth = cfg.NoHealth
	g.builtin.publicError = g.publicSchemaError
	g.front = cfg.CORS.handler(webText(http.HandlerFunc(g.serve)))
	return g, nil
}

// Mount adds a new gateway to namespaces of node to what the node serves: [rpcmesh.Node.Serve] has it take what the
// patterns of [rpcmesh.Node.Handle] leave, beside links, and unary gRPC calls cost least. A node takes one gateway: where
// it has a handler for "/" Mount fails with already_exists. For a server of your own, see [New].
func Mount(node *rpcmesh.Node, cfg Config) error {
	g, err := New(node, cfg)
	if err != nil {
		return err
	}
	err = guard.Try("the node", func() error {
		g.entry.MountGateway(g, bufferedHandlers{g})
		return nil
	})
	if p, ok := errors.AsType[*guard.PanicError](err); ok {
		return connect.Errorf(connect.CodeAlreadyExists, "gateway: the node does not take a gateway at %q (%s): "+
			"one gateway serves all that Config.Namespaces names, and another one must be given a mux, or a node, of its own", "/", p.Value)
	}
	return nil
}

// ServeHTTP implements [http.Handler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.front.ServeHTTP(w, r) }

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	t, found, err := requestTarget(r)
	if !found && (r.Method != http.MethodPost || !g.errors.IsSupported(r)) {
		http.NotFound(w, r)
		return
	}
	if !found {
		err = connect.NewError(connect.CodeUnimplemented,
			"the path is none of a function's: one looks like /pkg.Service/Method or /ns/NAMESPACE/pkg.Service/Method")
	}
	if g.draining() {
		w.Header().Set("Connection", "close") // which net/http makes a GOAWAY over HTTP/2
	}
	who := clientByAddress(r.RemoteAddr) // until its token is known
	if err == nil {
		err = g.entry.Admit(r.Context())
	}
	if err == nil {
		err = g.calls.begin(who)
	}
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	defer func() { g.calls.end(who) }()
	c, err := g.admitCall(r, t, &who)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	if r.Method == http.MethodPost && !accepts(c.spec.StreamType, r.Header.Get("Content-Type")) {
		refuseMediaType(w, c.spec.StreamType)
		return
	}
	c.w, c.r = w, r
	g.handlers.of(c.spec).ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
}

// admitCall decides whether r may call t, and finds it. From then on the call counts for the client that has its
// token.
func (g *Gateway) admitCall(r *http.Request, t target, who *client) (*call, error) {
	if t.namespace == "" {
		t.namespace = g.cfg.Namespace
	}
	admitted, token, err := g.authorize(r, t, *who)
	if err != nil {
		return nil, err
	}
	if err := g.calls.transfer(*who, admitted); err != nil {
		return nil, err
	}
	*who = admitted
	ns, ok := g.namespace(t.namespace)
	if !ok {
		return nil, connect.Errorf(connect.CodeNotFound, "the gateway has no namespace %.64q: use one that it serves", t.namespace)
	}
	if m, ok := g.builtin.lookup(g.node, ns, t.procedure); ok {
		return &call{ns: ns, spec: m.Spec, builtin: m.Handler}, nil
	}
	spec, err := lookUpSpec(r, ns, t.procedure)
	if err != nil {
		return nil, err
	}
	return &call{ns: ns, spec: spec, from: g.outside(token, r.RemoteAddr)}, nil
}

// lookUpSpec finds the function that r calls. It waits for it as calls do, but for no longer than the caller.
func lookUpSpec(r *http.Request, ns *rpcmesh.Namespace, procedure string) (connect.Spec, error) {
	for {
		if f, ok := ns.Find(procedure); ok {
			return connect.Spec{Procedure: f.Procedure, StreamType: f.StreamType, IdempotencyLevel: f.Idempotency}, nil
		}
		ctx, cancel := withRequestTimeout(r)
		stream, err := ns.NewClientStream(ctx, connect.Spec{Procedure: procedure})
		cancel()
		if err != nil {
			return connect.Spec{}, err // it says what is known of the function
		}
		_ = stream.Close() // the function has just appeared
	}
}

// withRequestTimeout returns the context of a request with the timeout that its headers give. The protocol's handler
// refuses malformed ones.
func withRequestTimeout(r *http.Request) (context.Context, context.CancelFunc) {
	if timeout, ok := grpc.Timeout(r.Header.Get("Grpc-Timeout")); ok {
		return context.WithTimeout(r.Context(), timeout)
	}
	if ms, err := strconv.ParseUint(r.Header.Get("Connect-Timeout-Ms"), 10, 32); err == nil {
		return context.WithTimeout(r.Context(), time.Duration(ms)*time.Millisecond) // short: 32 bits of milliseconds
	}
	return r.Context(), func() {}
}

// outside describes how a call came in; token is the name of the token that admitted it, if any.
func (g *Gateway) outside(token, addr string) rawcall.Outside {
	return rawcall.Outside{Gateway: g.cfg.Name, Token: token, Addr: addr}
}

// publicError is an error of the mesh in the form that callers outside see.
func (g *Gateway) publicError(err error, procedure string) error {
	if g.cfg.NameNodes {
		return err
	}
	return bridge.Discreet(err, procedure)
}

// publicSchemaError is publicError for a schema that cannot be fetched.
func (g *Gateway) publicSchemaError(err error, name string) error {
	if g.cfg.NameNodes {
		return err
	}
	return bridge.DiscreetSchema(err, name)
}

// namespace returns the namespace called name if calls may go there.
func (g *Gateway) namespace(name string) (*rpcmesh.Namespace, bool) {
	known, ok := g.namespaces[name]
	if !ok {
		return nil, false
	}
	if ns := known.Load(); ns != nil {
		return ns, true
	}
	ns, ok := g.node.FindNamespace(name)
	if ok {
		known.Store(ns)
	}
	return ns, ok
}

// refuse answers a request that reaches no handler.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if connect.CodeOf(err) == connect.CodeUnauthenticated {
		w.Header().Set("Www-Authenticate", "Bearer")
	}
	if connect.CodeOf(err) == connect.CodeUnimplemented {
		w = notFoundWriter{w}
	}
	t, _ := parsePath(r.URL.Path)
	_ = g.errors.Write(w, r, bridge.Verdict(g.publicError(err, t.procedure))) // it fails where the caller has left
}

// notFoundWriter turns the status of the code unimplemented, 501, into 404, as Connect servers answer unknown paths.
type notFoundWriter struct{ http.ResponseWriter }

func (u notFoundWriter) WriteHeader(status int) {
	if status == http.StatusNotImplemented {
		status = http.StatusNotFound
	}
	u.ResponseWriter.WriteHeader(status)
}

// skip reports whether a header is not forwarded: it is meant for the gateway, or callers must not set it.
func (g *Gateway) skip(key string) bool {
	return key == "Authorization" && !g.cfg.PassAuthorization || g.dropHeaders.has(key)
}

// call is one call on its way through the gateway, in the context of its request.
type call struct {
	ns      *rpcmesh.Namespace
	spec    connect.Spec
	from    rawcall.Outside
	w       http.ResponseWriter
	r       *http.Request
	json    *transcoder        // of a JSON call
	builtin connect.ServerFunc // of one of the gateway's own services
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// call is the handler of every call.
func (g *Gateway) call(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return bridge.Verdict(context.DeadlineExceeded)
	}
	c := callOf(ctx)
	if c.builtin != nil {
		return g.callBuiltin(ctx, c, stream)
	}
	stream = limitedStream{stream, g.cfg.MaxMessage}
	if info, _ := connect.CallInfoForServerContext(ctx); info.Codec == connect.CodecNameJSON {
		var err error
		c.json, err = g.newTranscoder(ctx, c.ns, c.spec.Procedure)
		if err != nil {
			return bridge.Verdict(err)
		}
		stream = jsonStream{ServerStream: stream, ctx: ctx, t: c.json}
	}
	return g.pump.Call(ctx, c.spec, stream)
}

// limitedStream is a stream whose errors say which limit a request exceeds.
type limitedStream struct {
	connect.ServerStream
	limit int
}

func (b limitedStream) Receive(msg any) error {
	err := b.ServerStream.Receive(msg)
	if err == nil || connect.CodeOf(err) != connect.CodeResourceExhausted {
		return err
	}
	if e, ok := errors.AsType[*connect.Error](err); ok && e.IsRemote() {
		return err
	}
	return connect.Errorf(connect.CodeResourceExhausted,
		"the request is longer than the gateway takes: set its Config.MaxMessage of %d bytes higher, or send less at once", b.limit).WithCause(err)
}

// meshTransport is the transport of every call.
type meshTransport struct{}

func (meshTransport) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	c := callOf(ctx)
	return c.ns.NewClientStream(rawcall.WithOutside(ctx, c.from), spec)
}

// stopReceiving is the pump's. It works for HTTP/1.1, where closing the body would block, and for HTTP/2.
func stopReceiving(ctx context.Context) {
	c := callOf(ctx)
	if c.r.ProtoMajor == 1 {
		c.w.Header().Set("Connection", "close") // the connection cannot be read any more
	}
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0)) // see New
}
