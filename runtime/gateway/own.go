package gateway

import (
	"strings"
	"sync"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/health"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/reflection"
)

// ownPrefix is what the procedures of the gateway's own services begin with.
const ownPrefix = "/grpc."

// own are the services that the gateway itself serves in each namespace, in the place of the mesh.
type own struct {
	noReflection, noHealth bool
	told                   func(err error, name string) error // as those outside are

	mu      sync.Mutex
	methods map[*rpcmesh.Namespace]map[string]connect.Method // by procedure
}

// find returns the method for a procedure, if it is one of the own.
func (o *own) find(ns *rpcmesh.Namespace, procedure string) (connect.Method, bool) {
	if !strings.HasPrefix(procedure, ownPrefix) {
		return connect.Method{}, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.methods == nil {
		o.methods = map[*rpcmesh.Namespace]map[string]connect.Method{}
	}
	methods, ok := o.methods[ns]
	if !ok {
		methods = o.make(ns)
		o.methods[ns] = methods
	}
	m, ok := methods[procedure]
	return m, ok
}

func (o *own) make(ns *rpcmesh.Namespace) map[string]connect.Method {
	var all []connect.Method
	if !o.noHealth {
		all = health.Methods(ns)
	}
	if !o.noReflection {
		all = append(all, reflection.Methods(ns, o.told, all...)...)
	}
	methods := make(map[string]connect.Method, len(all))
	for _, m := range all {
		methods[m.Spec.Procedure] = m
	}
	return methods
}
