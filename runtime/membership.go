package rpcmesh

import (
	"slices"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// namespace returns the namespace or group called name, if the node is a member of it.
func (t *table) namespace(name string) (*Namespace, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ns, ok := t.namespaces[name]
	return ns, ok
}

// declare makes the node a member of ns and returns it, or the namespace or group that has its name already.
func (t *table) declare(ns *Namespace) *Namespace {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.namespaces[ns.name]
	if ok {
		return known
	}
	ns.err = asConnect(t.core.Declare(time.Now(), ns.name))
	if ns.err == nil {
		t.namespaces[ns.name] = ns
		t.publishLocked()
	}
	return ns
}

// declareGroup declares a group and returns it, or the equal one that was declared before.
func (t *table) declareGroup(ns *Namespace) (*Namespace, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase != running {
		return nil, errClosed()
	}
	known, ok := t.namespaces[ns.name]
	if ok {
		if !known.isGroup || known.bridged != ns.bridged || !slices.Equal(known.members, ns.members) {
			return nil, connect.Errorf(connect.CodeAlreadyExists,
				"rpcmesh: %q is a namespace of this node already, or another group", ns.name)
		}
		return known, nil
	}
	if err := t.core.DeclareGroup(time.Now(), ns.name, ns.members, ns.bridged); err != nil {
		return nil, asConnect(err)
	}
	t.publishLocked()
	t.namespaces[ns.name] = ns
	t.links.addGroup(ns)
	return ns, nil
}

// register registers functions of this node. It calls added before anyone sees them.
func (t *table) register(now time.Time, namespace string, functions []mesh.Function, added func()) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase != running || t.identity.proxy {
		return errClosed()
	}
	if err := t.core.Register(now, namespace, functions); err != nil {
		return asConnect(err)
	}
	added()
	t.publishLocked()
	return nil
}

// unregister withdraws functions of this node. It calls removed before anyone sees that.
func (t *table) unregister(namespace string, procedures []string, removed func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.core.Unregister(time.Now(), namespace, procedures)
	removed()
	t.publishLocked()
}

// fit records that a replica of this node fits the first origin's schema.
func (t *table) fit(namespace, procedure string, own, first []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.core.Fit(time.Now(), namespace, procedure, own, first)
	t.publishLocked()
}

// ask is what a link that is to carry namespaces asks of the other end.
func (t *table) ask(namespaces []string) ([]*linkv1.LinkNamespace, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked, err := t.core.Ask(namespaces)
	return asked, asConnect(err)
}

// withdrawAll withdraws the node's functions and returns the namespaces that it leaves. It reports false where the
// node is leaving already.
func (t *table) withdrawAll() ([]string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase != running {
		return nil, false
	}
	t.phase = draining
	t.life.leaving.Store(true)
	t.core.Leave(time.Now())
	t.publishLocked()
	var names []string
	for name := range t.namespaces {
		names = append(names, name)
	}
	return names, true
}
