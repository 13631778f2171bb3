package rpcmesh

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// balancer distributes a node's calls over the origins of replicated functions.
type balancer struct {
	turns   sync.Map // procedure to *atomic.Uint64
	pending sync.Map // NodeID to *atomic.Int64: calls in progress
}

func (b *balancer) pick(procedure string, policy mesh.Policy, targets []mesh.Target) mesh.Target {
	return targets[b.pickIndex(procedure, policy, targets)]
}

// pickIndex is pick, and returns the index of the target.
func (b *balancer) pickIndex(procedure string, policy mesh.Policy, targets []mesh.Target) int {
	if len(targets) == 1 {
		return 0
	}
	switch policy {
	case PolicyRandom:
		return rand.IntN(len(targets))
	case PolicyLeastPending:
		i := rand.IntN(len(targets))
		j := rand.IntN(len(targets) - 1)
		if j >= i {
			j++
		}
		if b.pendingAt(targets[j].Node).Load() < b.pendingAt(targets[i].Node).Load() {
			i = j
		}
		return i
	case PolicyNearest:
		near := 1
		for near < len(targets) && targets[near].Hops == targets[0].Hops {
			near++
		}
		return b.nextTurn(procedure, near)
	case PolicySingle, PolicyRoundRobin:
	}
	return b.nextTurn(procedure, len(targets))
}

// nextTurn is the round-robin counter of procedure, modulo n.
func (b *balancer) nextTurn(procedure string, n int) int {
	v, ok := b.turns.Load(procedure)
	if !ok {
		v, _ = b.turns.LoadOrStore(procedure, new(atomic.Uint64))
	}
	return int((v.(*atomic.Uint64).Add(1) - 1) % uint64(n))
}

func (b *balancer) pendingAt(node NodeID) *atomic.Int64 {
	v, ok := b.pending.Load(node)
	if !ok {
		v, _ = b.pending.LoadOrStore(node, new(atomic.Int64))
	}
	return v.(*atomic.Int64)
}
