package rpcmesh

import (
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// callerChecks is what a link takes for true of who makes the calls that come in over it. Only the link's reader uses
// it.
type callerChecks struct {
	table      *mesh.Snapshot               // that verdicts go by
	verdicts   map[callerClaim]*link.Caller // verdicts
	lastClaim  callerClaim
	lastCaller *link.Caller // to last
}

// callerClaim is who is said to call into a namespace.
type callerClaim struct {
	caller    *link.Caller
	namespace string
}

// maxVerdicts bounds how many verdicts a link keeps.
const maxVerdicts = 256

// checkCaller returns who made a call that came in over this link, as far as what is said of it can be true; nil
// where nobody knows.
func (s *session) checkCaller(in *link.Incoming) *link.Caller {
	if s.proxyCaller != nil || in.Caller == nil {
		return s.proxyCaller
	}
	b, c, table := &s.callerChecks, callerClaim{in.Caller, in.Namespace}, s.table.snapshot.Load()
	if table != b.table || len(b.verdicts) >= maxVerdicts {
		*b = callerChecks{table: table, verdicts: map[callerClaim]*link.Caller{}}
	}
	if c == b.lastClaim {
		return b.lastCaller
	}
	answer, ok := b.verdicts[c]
	if !ok {
		answer = s.checkClaim(table, c)
		b.verdicts[c] = answer
	}
	b.lastClaim, b.lastCaller = c, answer
	return answer
}

// checkClaim is believe for what is not known yet.
func (s *session) checkClaim(table *mesh.Snapshot, c callerClaim) *link.Caller {
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
