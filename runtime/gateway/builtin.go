package gateway

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/health"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/reflection"
)

// builtinPrefix is the common prefix of the procedures that the gateway serves itself.
const builtinPrefix = "/grpc."

// builtinServices are the services that the gateway itself serves in each namespace, instead of the mesh.
type builtinServices struct {
	noReflection, noHealth bool
	publicError            func(err error, name string) error // an error in the form that callers outside see

	mu      sync.Mutex
	methods map[*rpcmesh.Namespace]map[string]connect.Method // by procedure
}

// lookup returns the method for a procedure, if it is a built-in one.
func (o *builtinServices) lookup(node *rpcmesh.Node, ns *rpcmesh.Namespace, procedure string) (connect.Method, bool) {
	if !strings.HasPrefix(procedure, builtinPrefix) {
		return connect.Method{}, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.methods == nil {
		o.methods = map[*rpcmesh.Namespace]map[string]connect.Method{}
	}
	methods, ok := o.methods[ns]
	if !ok {
		methods = o.newMethods(ns, node)
		o.methods[ns] = methods
	}
	m, ok := methods[procedure]
	return m, ok
}

func (o *builtinServices) newMethods(ns *rpcmesh.Namespace, node *rpcmesh.Node) map[string]connect.Method {
	var all []connect.Method
	if !o.noHealth {
		all = health.Methods(ns, node.Stopping())
	}
	if !o.noReflection {
		all = append(all, reflection.Methods(ns, o.publicError, all...)...)
	}
	methods := make(map[string]connect.Method, len(all))
	for _, m := range all {
		methods[m.Spec.Procedure] = m
	}
	return methods
}

// callBuiltin calls a built-in method. It ends the method's streams when the node drains, since nobody else does.
func (g *Gateway) callBuiltin(ctx context.Context, c *call, stream connect.ServerStream) error {
	if c.spec.StreamType == connect.StreamTypeUnary {
		return c.builtin(ctx, c.spec, stream)
	}
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ctx.Done():
		case <-g.node.Draining():
			cancel()
			_ = http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0)) // see New
		}
	})
	err := c.builtin(ctx, c.spec, stream)
	cancel()
	watch.Wait()
	if err != nil && g.draining() {
		return rpcmesh.ErrDraining
	}
	return err
}

// draining reports whether callers should use another node.
func (g *Gateway) draining() bool {
	select {
	case <-g.node.Draining():
		return true
	default:
		return false
	}
}
