package mesh

import (
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// Core is the routing core of one node. One goroutine at a time may use it.
type Core struct{}

// New returns a core without namespaces and links.
func New(cfg Config) *Core { return &Core{} }

// Declare makes this node a member of a namespace. Declaring again, or a group's name, does nothing.
// Errors: *NameError, *LimitError.
func (c *Core) Declare(now time.Time, ns string) error { return nil }

// DeclareGroup makes name stand for members, in this order, and declares those. Declaring the same
// again does nothing. Errors: *NameError (also where name is a namespace already, or a group with other
// members), *LimitError.
func (c *Core) DeclareGroup(now time.Time, name string, members []string, bridged bool) error {
	return nil
}

// Declared reports whether name is a namespace or group of this node.
func (c *Core) Declared(name string) bool { return false }

// Register adds origins to a namespace, or to all members of a group: all of them or none. Errors:
// *UndeclaredError, *NameError, *ExistsError, *PolicyError, *LimitError.
func (c *Core) Register(now time.Time, ns string, fns []Function) error { return nil }

// Unregister withdraws origins of this node. Those that are none are skipped.
func (c *Core) Unregister(now time.Time, ns string, procedures []string) {}

// Ask returns what this node's Join says of these names. Errors: *UndeclaredError.
func (c *Core) Ask(names []string) ([]*linkv1.LinkNamespace, error) { return nil, nil }

// Answer returns what the listener's Join says to a dialler's, and which of the names asked for it
// cannot carry: this node does not hold them, or holds a group that shares no member with the
// dialler's. Errors: *NameError, *LimitError.
func (c *Core) Answer(asked []*linkv1.LinkNamespace) (answer []*linkv1.LinkNamespace, unknown []string, err error) {
	return nil, nil, nil
}

// LinkUp adds a link. Errors, upon which the link is to be closed: [ErrSelf], *DuplicateError,
// *ProtocolError.
func (c *Core) LinkUp(now time.Time, id LinkID, peer Peer) error { return nil }

// LinkDown removes a link. One that is not known is skipped.
func (c *Core) LinkDown(now time.Time, id LinkID, cause Cause) {}

// Leave withdraws all functions of this node and says that it is about to go. It cannot be taken
// back. Links stay, until LinkDown.
func (c *Core) Leave(now time.Time) {}

// Receive takes in what a peer told. Errors, upon which the link is to be closed: *ProtocolError,
// *LimitError. Nothing is taken in with an error.
func (c *Core) Receive(now time.Time, id LinkID, t *linkv1.Table) error { return nil }

// Tick does what is due, and returns when to call it again: digests, every [DigestInterval] on each
// link, and forgetting, after [ForgetAfter].
func (c *Core) Tick(now time.Time) (next time.Time) { return now.Add(DigestInterval) }

// Pull returns the next that a link's peer is to be told, of about maxBytes, or nil if nothing is
// left. What is pulled counts as told.
func (c *Core) Pull(now time.Time, id LinkID, maxBytes int) *linkv1.Table { return nil }

// Pending returns the links that may have got something to pull since the last call. Each of them is
// to be pulled until nil.
func (c *Core) Pending() []LinkID { return nil }

// Synced reports whether the first exchange over a link is done.
func (c *Core) Synced(id LinkID) bool { return false }

// Events returns what happened since the last call.
func (c *Core) Events() []Event { return nil }

// WatchFunctions says whether events of single functions are wanted of a namespace or group, at
// first they are not. Calls nest: each true needs its false.
func (c *Core) WatchFunctions(ns string, on bool) {}

// Snapshot returns what is known now. It is the same as before if nothing changed.
func (c *Core) Snapshot() *Snapshot { return &Snapshot{} }

// Token stands for a wish to know when all have seen something.
type Token struct{ id uint64 }

// WantVisible asks all members of a namespace or group that can be reached to acknowledge what this
// node has registered there so far. Errors: *UndeclaredError.
func (c *Core) WantVisible(now time.Time, ns string) (Token, error) { return Token{}, nil }

// Visible reports whether all members within reach have acknowledged. It may change with any call
// of Receive or LinkDown, and is forgotten with Release.
func (c *Core) Visible(t Token) bool { return false }

// Release ends a wish. It must be called for each token.
func (c *Core) Release(now time.Time, t Token) {}
