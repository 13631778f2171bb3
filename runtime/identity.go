package rpcmesh

import (
	"crypto/ed25519"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// identity is who a node is: to its peers, in its calls and in its errors. It does not change.
type identity struct {
	id          NodeID
	name        string
	incarnation uint64
	key         ed25519.PrivateKey // of this start
	proxy       bool               // a [Proxy]'s: no member
	caller      link.Caller        // of its own calls
	addresses   []string
	metadata    map[string]string
}

// newIdentity returns the identity of a node of cfg, which named says has a name of its user's.
func newIdentity(cfg *Config, key ed25519.PrivateKey, named, proxy bool) *identity {
	i := &identity{
		id: idOf(cfg.Name), name: cfg.Name, incarnation: uint64(time.Now().UnixNano()), key: key, proxy: proxy,
		addresses: cfg.Addresses, metadata: cfg.Metadata,
	}
	if !named {
		i.name = defaultName()
	}
	if !named || proxy {
		i.id = randomID()
	}
	i.caller = link.Caller{Node: i.id, Name: link.CallerText(i.name)}
	return i
}

// info is what the node says of itself to others.
func (i *identity) info() *linkv1.NodeInfo {
	return &linkv1.NodeInfo{Name: i.name, Version: Version(), Addresses: i.addresses, Metadata: i.metadata}
}

func (i *identity) newJoin(namespaces []*linkv1.LinkNamespace) *linkv1.Join {
	return &linkv1.Join{Info: i.info(), Namespaces: namespaces, Proxy: i.proxy}
}

// openTemplate is what calls of this node's have in common that go to a target over a link.
func (i *identity) openTemplate(t *mesh.Target, procedure string) *link.Open {
	o := &link.Open{
		Namespace: t.LinkNamespace, Procedure: procedure, Origin: t.Node, OriginNamespace: t.Namespace,
		Hops: link.MaxHops,
	}
	if !i.proxy {
		o.Caller = &i.caller
	}
	return o
}
