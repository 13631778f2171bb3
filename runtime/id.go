package rpcmesh

import (
	"crypto/rand"
	"crypto/sha256"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// NodeID identifies a node in its mesh: 16 bytes, which String returns as 32 hexadecimal digits. It follows
// from [Config.Name] where one is set, so that a restart is the same node again, and is random otherwise.
type NodeID = nodeid.ID

// idOf derives a node's id from its configured name.
func idOf(name string) NodeID {
	sum := sha256.Sum256([]byte("rpcmesh node\x00" + name))
	return NodeID(sum[:16])
}

// NodeIDOf returns the id of the node that [Config.Name] names so.
func NodeIDOf(name string) NodeID { return idOf(name) }

// randomID returns an id for a node that was given no name.
func randomID() NodeID {
	var id NodeID
	rand.Read(id[:]) // never fails, see crypto/rand
	return id
}
