package adopt

import (
	"context"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// watchNamespace has the services that others have tried again when one of their functions is withdrawn.
func (t *connection) watchNamespace(ctx context.Context) {
	if t.watchingNamespace {
		return
	}
	t.watchingNamespace = true
	t.tasks.Go(func() {
		for e := range t.ns.Watch(ctx) {
			if e.Kind == rpcmesh.FunctionRemoved || e.Kind == rpcmesh.EventsMissed {
				t.wakeReconciler()
			}
		}
	})
}

// reconcile registers the services that are to be and withdraws the others. It reports whether there is one
// that another node has, or that cannot be registered for another reason.
func (t *connection) reconcile() (blocked bool) {
	t.mu.Lock()
	wanted := map[string]bool{}
	var missing []service
	for _, s := range t.schema.services {
		wanted[s.name] = t.servesLocked(s.name)
		if wanted[s.name] && t.origins[s.name] == nil {
			missing = append(missing, s)
		}
	}
	serving := t.states[""] != stateNotServing
	t.mu.Unlock()
	if !serving {
		t.logStatus(false, connect.NewError(connect.CodeUnavailable, "adopt: the server says that it is not serving"))
	}
	t.withdraw(func(name string) bool { return wanted[name] })
	var first error
	for _, s := range missing {
		if err := t.register(s); err != nil && first == nil {
			first = err
		}
	}
	if serving {
		t.logStatus(true, first)
	}
	return first != nil
}

// logStatus notes how things stand, and logs it if it is new.
func (a *Server) logStatus(serving bool, err error) {
	a.mu.Lock()
	was, functions := a.up && a.err == nil, 0
	for _, o := range a.origins {
		functions += len(o.Procedures())
	}
	a.mu.Unlock()
	switch {
	case serving && err == nil && !was:
		a.log.Info("adopted server up", "functions", functions)
	case !serving && was:
		a.log.Warn("adopted server not serving")
	}
	a.setStatus(serving, err, serving && err != nil)
}

// servesLocked tells whether service's functions are to be registered.
func (a *Server) servesLocked(service string) bool {
	return a.states[""] != stateNotServing && a.states[service] != stateNotServing
}

// register registers one service. That it cannot be is logged once.
func (t *connection) register(s service) error {
	methods := make([]connect.Method, len(s.specs))
	for i, spec := range s.specs {
		methods[i] = connect.Method{Spec: spec, Handler: t.backend.call}
	}
	origin, err := t.reg.Register(methods...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.origins[s.name] = origin
		delete(t.refused, s.name)
		return nil
	}
	if t.refused[s.name] == nil {
		t.log.Warn("adopted service not registered", "service", s.name, "error", err.Error())
	}
	t.refused[s.name] = err
	return err
}
