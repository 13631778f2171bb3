package rpcmesh

import (
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// believing is what a link takes for true of who makes the calls that come in over it. Only the link's reader uses
// it.
type believing struct {
	table  *mesh.Snapshot         // that verdicts go by
	known  map[claim]*link.Caller // verdicts
	last   claim
	answer *link.Caller // to last
}

// claim is who is said to call into a namespace.
type claim struct {
	caller    *link.Caller
	namespace string
}

// maxVerdicts bounds how many verdicts a link keeps.
const maxVerdicts = 256

// believe returns who made a call that came in over this link, as far as what is said of it can be true; nil
// where nobody knows.
func (s *session) believe(in *link.Incoming) *link.Caller {
	if s.proxied != nil || in.Caller == nil {
		return s.proxied
	}
	b, c, table := &s.believing, claim{in.Caller, in.Namespace}, s.node.table.Load()
	if table != b.table || len(b.known) >= maxVerdicts {
		*b = believing{table: table, known: map[claim]*link.Caller{}}
	}
	if c == b.last {
		return b.answer
	}
	answer, ok := b.known[c]
	if !ok {
		answer = s.judge(table, c)
		b.known[c] = answer
	}
	b.last, b.answer = c, answer
	return answer
}

// judge is believe for what is not known yet.
func (s *session) judge(table *mesh.Snapshot, c claim) *link.Caller {
	peer, said := s.link.Peer(), c.caller
	if said.Node == peer.Node {
		own := *said
		own.Name = link.CallerText(peer.Join.GetInfo().GetName())
		if own != *said {
			said = &own
		}
	}
	from := mesh.NodeID(peer.Node)
	name, ok := table.Behind(c.namespace, from, mesh.NodeID(said.Node))
	if !ok || name != "" && name != said.Name {
		return nil
	}
	// A name that another node goes by is not for this one, whatever its id.
	if named := mesh.NodeID(idOf(said.Name)); named != mesh.NodeID(said.Node) {
		if _, ok := table.Behind(c.namespace, from, named); !ok {
			return nil
		}
	}
	return said
}
