// Package health serves gRPC's health protocol, grpc.health.v1.Health, for the functions of a namespace:
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
package health

import (
	"context"
	"strings"

	"connectrpc.com/connect/v2"

	healthv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/grpc/health/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/stub"
)

// maxListed bounds the services that one answer lists.
const maxListed = 10_000

const (
	serving        = healthv1.HealthCheckResponse_SERVING
	notServing     = healthv1.HealthCheckResponse_NOT_SERVING
	serviceUnknown = healthv1.HealthCheckResponse_SERVICE_UNKNOWN
)

// Methods returns the service's methods for ns. A service serves while an origin of any of its functions
// can be called; it does not serve once that is no longer so, and after a time it is not known any more.
// The service "" is the node, and serves. Once stopping is closed nothing serves any more. The methods may be called
// concurrently.
func Methods(ns *rpcmesh.Namespace, stopping <-chan struct{}) []connect.Method {
	s := &server{ns: ns, stopping: stopping}
	bind := []stub.ServiceMethod[*server]{
		stub.UnaryMethod(spec("Check"), (*server).check),
		stub.UnaryMethod(spec("List"), (*server).list),
		stub.ServerStreamMethod(spec("Watch"), (*server).watch),
	}
	methods := make([]connect.Method, len(bind))
	for i, method := range bind {
		methods[i], _ = method(s) // fails where the descriptor lacks it, which a test rules out
	}
	return methods
}

type server struct {
	ns       *rpcmesh.Namespace
	stopping <-chan struct{}
}

// as is a state as it is told: nothing serves any more once the node is stopping.
func (s *server) as(status healthv1.HealthCheckResponse_ServingStatus) healthv1.HealthCheckResponse_ServingStatus {
	select {
	case <-s.stopping:
		if status == serving {
			return notServing
		}
	default:
	}
	return status
}

func (s *server) check(_ context.Context, req *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	status := s.status(req.GetService())
	if status == serviceUnknown {
		return nil, connect.Errorf(connect.CodeNotFound,
			"no node that can be reached in namespace %q has registered a function of service %q, nor has one lately",
			s.ns.Name(), req.GetService())
	}
	return &healthv1.HealthCheckResponse{Status: s.as(status)}, nil
}

func (s *server) status(service string) healthv1.HealthCheckResponse_ServingStatus {
	if service == "" {
		return serving
	}
	if _, ok := s.ns.FindService(service); ok {
		return serving
	}
	for f := range s.ns.Withdrawn() {
		if serviceOf(f.Procedure) == service {
			return notServing
		}
	}
	return serviceUnknown
}

func (s *server) list(context.Context, *healthv1.HealthListRequest) (*healthv1.HealthListResponse, error) {
	statuses := map[string]*healthv1.HealthCheckResponse{"": {Status: s.as(serving)}}
	for f := range s.ns.Withdrawn() {
		statuses[serviceOf(f.Procedure)] = &healthv1.HealthCheckResponse{Status: notServing}
	}
	for service := range s.ns.Services() {
		statuses[service] = &healthv1.HealthCheckResponse{Status: s.as(serving)}
	}
	if len(statuses) > maxListed {
		return nil, connect.Errorf(connect.CodeResourceExhausted,
			"namespace %q has more than %d services: check them one by one", s.ns.Name(), maxListed)
	}
	return &healthv1.HealthListResponse{Statuses: statuses}, nil
}

// serviceOf returns the service of a procedure, "pkg.Service" of "/pkg.Service/Method".
func serviceOf(procedure string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	return service
}
