package health

import (
	"context"
	"sync"

	"connectrpc.com/connect/v2"

	healthv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/grpc/health/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/stub"
)

type stream = stub.ServerSendStream[healthv1.HealthCheckResponse]

// watch tells a service's status now and after each change, until the caller leaves or the node is closed.
func (s *server) watch(ctx context.Context, req *healthv1.HealthCheckRequest, stream stream) error {
	w := &watcher{ns: s.ns, service: req.GetService(), callable: map[string]bool{}}
	if err := s.untilStopping(ctx, func(ctx context.Context) error { return s.follow(ctx, w, stream) }); err != nil {
		return err
	}
	if ctx.Err() == nil && s.as(serving) != serving && w.last != notServing {
		if err := stream.Send(&healthv1.HealthCheckResponse{Status: s.as(w.last)}); err != nil {
			return err
		}
	}
	for range s.ns.Watch(ctx) { // nothing changes any more
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return connect.NewError(connect.CodeUnavailable, "the node has left the mesh")
}

// untilStopping calls f with a context that ends with ctx, or when the node is stopping.
func (s *server) untilStopping(ctx context.Context, f func(context.Context) error) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait.Go(func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	})
	return f(ctx)
}

// follow tells a service's status until ctx ends or the node is closed.
func (s *server) follow(ctx context.Context, w *watcher, stream stream) error {
	w.last = s.status(w.service)
	first := true
	for e := range s.ns.Watch(ctx) {
		changed := first
		if first {
			// Events have begun, the node's own place in the namespace at the least: none is missed.
			w.last = s.status(w.service)
			w.lookUp()
			first = false
		} else {
			changed = w.service != "" && w.changed(e)
		}
		if !changed {
			continue
		}
		if err := stream.Send(&healthv1.HealthCheckResponse{Status: w.last}); err != nil {
			return err
		}
	}
	return nil
}

// watcher follows one service.
type watcher struct {
	ns       *rpcmesh.Namespace
	service  string
	last     healthv1.HealthCheckResponse_ServingStatus
	callable map[string]bool // the procedures of the service that can be called
}

// changed takes an event in and reports whether the status is another one after it.
func (w *watcher) changed(e rpcmesh.Event) bool {
	if e.Kind == rpcmesh.EventsMissed {
		w.lookUp()
	} else {
		w.note(e.Procedure)
	}
	before := w.last
	switch {
	case len(w.callable) > 0:
		w.last = serving
	case w.last == serving:
		w.last = notServing
	}
	return w.last != before
}

// lookUp takes in all that can be called now.
func (w *watcher) lookUp() {
	clear(w.callable)
	for f := range w.ns.Functions() {
		w.note(f.Procedure)
	}
}

// note takes in whether a procedure can be called now, if it is one of the service's.
func (w *watcher) note(procedure string) {
	switch {
	case serviceOf(procedure) != w.service:
	case w.ns.Route(procedure) != nil:
		w.callable[procedure] = true
	default:
		delete(w.callable, procedure)
	}
}
