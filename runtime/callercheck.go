package rpcmesh

import (
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// callerChecks caches which claims about callers a link's calls may make. Only the link's reader uses it.
type callerChecks struct {
	table      *mesh.Snapshot               // that the verdicts are based on
	verdicts   map[callerClaim]*link.Caller // nil: not to be believed
	lastClaim  callerClaim
	lastCaller *link.Caller // the verdict on lastClaim
}

// callerClaim is a caller that a call into a namespace claims to have.
type callerClaim struct {
	caller    *link.Caller
	namespace string
}

// maxVerdicts bounds how many verdicts a link caches.
const maxVerdicts = 256

// checkCaller returns who made a call that came in over this link, provided that the claim can be true; otherwise
// nil.
func (s *session) checkCaller(in *link.Incoming) *link.Caller {
	if s.proxyCaller != nil || in.Caller == nil {
		return s.proxyCaller
	}
	b := &s.callerChecks
	c := callerClaim{in.Caller, in.Namespace}
	table := s.table.snapshot.Load()
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

// checkClaim is checkCaller for a claim that is not cached.
func (s *session) checkClaim(table *mesh.Snapshot, c callerClaim) *link.Caller {
	peer, said := s.link.Peer(), c.caller
	if said.Node == peer.Node {
		own := *said
		own.Name = link.CallerText(peer.Join.GetInfo().GetName())
		if own != *said {
			said = &own
		}
	}
	from := peer.Node
	name, ok := table.Behind(c.namespace, from, said.Node)
	if !ok || name != "" && name != said.Name {
		return nil
	}
	// The claim must not use the name of a node that is elsewhere, whatever the id.
	if named := idOf(said.Name); named != said.Node {
		if _, ok := table.Behind(c.namespace, from, named); !ok {
			return nil
		}
	}
	return said
}
