package rpcmesh

import (
	"cmp"
	"context"
	"log/slog"
	"strings"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// Caller is who made a call, as its handler may know: see [CallerFrom]. The zero Caller is one that nobody told of.
//
// What can be relied on, until nodes have identities that others can check:
//
//   - A call that the handler's node made itself, or that a gateway of its own let in, is told of as it is. No
//     link can bring a call that claims to be one.
//   - A call that comes over a link from the node that made it, or let it in, has the id and the name that this
//     node has proven itself by when it linked. What it says of its gateway is its own word.
//   - A call of a [Proxy] has the member that it dialled as Node, which writes all of the Caller: the proxy cannot.
//   - A call that was relayed has what the last node on the way says. A node, relays included, does not believe
//     that a call is of a member of the call's namespace which, by the tables, cannot be behind the neighbour
//     that the call came from, nor of one by such a member's name: a node with one link speaks for itself alone,
//     and a part of the mesh that hangs together with the rest through this node only speaks for none outside it.
//     Such a call goes on, and its Caller is the zero one. Beyond that, every node between may say what it likes.
//
// Where it matters who it is, compare Node with [NodeIDOf] a name, and mind IsMember: any node may have any name that
// no member goes by at the moment.
//
// So a Caller is as good as the nodes that share the secret. It tells calls of programs in the mesh from those
// that were let in from outside, as long as no member lies.
type Caller struct {
	// Node and NodeName are those of the member at which the call came into the mesh: the one whose program made
	// it, whose gateway let it in, or that the proxy which made it is linked to. Zero and empty where nobody says,
	// as older nodes do, or what is said cannot be.
	Node     NodeID
	NodeName string

	// Outside says how the call came in from outside. Zero for a call of a program in the mesh.
	Outside

	// Proxy is the name of the [Proxy] that made the call, empty where none did. Any proxy may have any name.
	Proxy string

	// Verified tells that what is said here was proven to the handler's node. It is false in this release: it is
	// what the neighbours say.
	Verified bool
}

// Outside is how a call came in that was not made by a program in the mesh. The zero Outside is of a call that was.
type Outside struct {
	// Gateway is the name of the gateway that let the call in.
	Gateway string
	// Token is the name of the token that the gateway admitted the call by, empty where there was none.
	Token string
	// Addr is the network address of the call's other end outside, as "host:port": that of the gateway's caller,
	// or of the proxy. It may be that of something in between, such as a load balancer.
	Addr string
}

// CallerFrom returns who made the call whose handler has ctx, or a context derived from it, as interceptors and
// all else that runs for the call do. It is false for any other context. A handler's own calls are of its node, not of
// its caller.
//
// [connect.CallInfo.PeerAddr] of a handler is Addr where there is one, and NodeName else.
func CallerFrom(ctx context.Context) (Caller, bool) {
	caller, ok := link.CallerOf(ctx)
	return callerOf(caller), ok
}

func callerOf(c *link.Caller) Caller {
	if c == nil {
		return Caller{}
	}
	return Caller{
		Node: c.Node, NodeName: c.Name, Proxy: c.Proxy,
		Outside: Outside{Gateway: c.Gateway, Token: c.Token, Addr: c.Address},
	}
}

// IsMember reports whether a program in the mesh made the call, which runs at Node. A call that a gateway of Node's let
// in, or that a proxy made, is none of Node's own; nor is one of which nobody says whose it is.
func (c Caller) IsMember() bool {
	return c.Node != NodeID{} && c.Outside == Outside{} && c.Proxy == ""
}

// String says who it is, for people.
func (c Caller) String() string {
	if c.Node == (NodeID{}) {
		return "unknown"
	}
	var s strings.Builder
	s.WriteString("node " + c.NodeName)
	for _, part := range []struct{ before, text string }{
		{" for proxy ", c.Proxy}, {" by gateway ", c.Gateway}, {" with token ", c.Token}, {" from ", c.Addr},
	} {
		if part.text != "" {
			s.WriteString(part.before + part.text)
		}
	}
	return s.String()
}

// LogValue implements [slog.LogValuer]: what is known, as a group.
func (c Caller) LogValue() slog.Value {
	if c.Node == (NodeID{}) {
		return slog.GroupValue()
	}
	attrs := []slog.Attr{slog.String("node", c.NodeName), slog.String("id", c.Node.String())}
	for _, a := range []slog.Attr{
		slog.String("gateway", c.Gateway), slog.String("token", c.Token), slog.String("proxy", c.Proxy), slog.String("addr", c.Addr),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	return slog.GroupValue(attrs...)
}

// attrCaller is the log attribute for who made a call.
func attrCaller(c *link.Caller) slog.Attr { return slog.Any("caller", callerOf(c)) }

// peerAddr is [connect.CallInfo.PeerAddr] of a handler.
func peerAddr(c *link.Caller) string {
	switch {
	case c == nil:
		return ""
	case c.Address != "":
		return c.Address
	}
	return c.Name
}

// externalCaller returns the caller of a call that this node admits from outside.
func (i *identity) externalCaller(o *rawcall.Outside) link.Caller {
	c := i.caller
	c.Gateway = cmp.Or(link.CallerText(o.Gateway), "gateway")
	c.Token, c.Address = link.CallerText(o.Token), link.CallerText(o.Addr)
	return c
}

// callerFor returns the caller of a call that is made in ctx: usually this node. A proxy does not identify itself.
func (i *identity) callerFor(ctx context.Context) *link.Caller {
	if i.proxy {
		return nil
	}
	if o := rawcall.OutsideOf(ctx); o != nil {
		c := i.externalCaller(o)
		return &c
	}
	return &i.caller
}

// proxyCaller returns the caller of the calls of a proxy that is linked to this node; nil if the peer is none.
func (i *identity) proxyCaller(peer link.Peer, addr string) *link.Caller {
	if !peer.Join.GetProxy() {
		return nil
	}
	c := i.caller
	c.Proxy = cmp.Or(link.CallerText(peer.Join.GetInfo().GetName()), peer.Node.String())
	c.Address = link.CallerText(addr)
	return &c
}
