package mesh

import (
	"errors"
	"fmt"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// ErrSelf is what [Core.LinkUp] returns for a link from a node to itself (failed_precondition).
var ErrSelf = errors.New("mesh: the link leads from this node to itself")

// ErrLeft is what [Core.Register] returns after [Core.Leave] (failed_precondition).
var ErrLeft = errors.New("mesh: this node is leaving")

// NameError is a namespace, group, procedure or list of members that cannot be (invalid_argument).
type NameError struct {
	What   string // "namespace", "procedure", "group"
	Name   string
	Reason string
}

func (e *NameError) Error() string { return fmt.Sprintf("mesh: %s %q %s", e.What, e.Name, e.Reason) }

// UndeclaredError is a namespace that this node does not hold (failed_precondition).
type UndeclaredError struct{ Namespace string }

func (e *UndeclaredError) Error() string {
	return fmt.Sprintf("mesh: namespace %q is not held by this node", e.Namespace)
}

// ExistsError is a function that already has an origin in the namespace (already_exists).
type ExistsError struct {
	Procedure, Namespace string
	Owner                nodeid.ID
	OwnerName            string
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("mesh: %s is already registered in namespace %q by %s (%s): give one of the two another namespace, or both a policy",
		e.Procedure, e.Namespace, e.OwnerName, e.Owner.Short())
}

// PolicyError is a replicated function with another policy than that of its earlier origins
// (failed_precondition).
type PolicyError struct {
	Procedure, Namespace string
	Owner                nodeid.ID
	OwnerName            string
	Want, Got            Policy // the earlier origin's, the refused one's
}

func (e *PolicyError) Error() string {
	return fmt.Sprintf("mesh: %s is registered in namespace %q by %s (%s) with policy %v, not %v",
		e.Procedure, e.Namespace, e.OwnerName, e.Owner.Short(), e.Want, e.Got)
}

// DuplicateError is a link with another process of the name of one that lives: of this node, or of one
// that it has a link with (already_exists). It may come once that has gone.
type DuplicateError struct {
	Node nodeid.ID
	Name string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("mesh: another living node is named %q (%s): give each node of a mesh a name of its own", e.Name, e.Node.Short())
}

// ClockError is a link with a node that says that it started in the future (failed_precondition).
type ClockError struct {
	Name, Here string        // that node's, this one's
	Ahead      time.Duration // from now
}

func (e *ClockError) Error() string {
	return fmt.Sprintf("mesh: node %q started %v from now by the clock of node %q: set the clocks of both right",
		e.Name, e.Ahead.Round(time.Second), e.Here)
}

// ProtocolError is a peer that said what the protocol does not allow. Its link is to be closed.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "mesh: the peer broke the protocol: " + e.Reason }

// LimitError is a table or registration beyond a bound of [Limits] (resource_exhausted).
type LimitError struct {
	What  string // what there is too much of
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("mesh: more than %d %s", e.Limit, e.What)
}
