package mesh

import (
	"iter"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// Snapshot is what a core knew at one moment. It never changes; any number of goroutines may use it.
type Snapshot struct{}

// Target is an origin as a call gets there.
type Target struct {
	Node          NodeID // goes into Open.origin
	Name          string // the node's
	Namespace     string // where the node holds it; goes into Open.origin_namespace
	Local         bool   // it is here; the fields below are zero
	Link          LinkID
	LinkNamespace string // the domain to call it in over Link; goes into Open.namespace
	Hops          int    // links on the path
}

// Choice is what a procedure resolves to.
type Choice struct {
	Function *Function // of the origin that was registered first
	Policy   Policy
	Targets  []Target // exactly one for Single, else all within reach, nearest first; not to be changed
}

// Find resolves a procedure in a namespace or group of this node. It does not allocate.
func (s *Snapshot) Find(ns, procedure string) (Choice, bool) { return Choice{}, false }

// Action is what is to be done with a call that came in over a link.
type Action uint8

// The actions.
const (
	None    Action = iota // there is no way to the origin
	Local                 // serve it from Decision.Namespace of this node
	Forward               // send it on
)

// Decision is where a call that came in over a link goes on.
type Decision struct {
	Action    Action
	Namespace string // Local: the namespace of the origin here
	Target    Target // Forward: where to; Node, Namespace, Link and LinkNamespace go into the next Open
	// Targets are set where this node has to choose among origins in the caller's stead (the call
	// crosses from a namespace into a group, or back); Target is the first of them.
	Targets []Target
	Policy  Policy
}

// Route resolves a call for an origin that came in over a link that carries linkNamespace. An empty
// originNamespace means linkNamespace. It does not allocate.
func (s *Snapshot) Route(linkNamespace string, origin NodeID, originNamespace, procedure string) Decision {
	return Decision{}
}

// Path returns the nodes on the way to t, from this one to t's, ends included. It is for showing.
func (s *Snapshot) Path(ns string, t Target) []NodeID { return nil }

// FunctionInfo is an origin of a function within reach.
type FunctionInfo struct {
	Function *Function
	Node     NodeID // the origin's
	Name     string // the node's
	Via      NodeID // the member that passes calls on to Node, where that is not itself a member; else Node
	Shadowed bool   // another origin serves
	Local    bool
	Hops     int // to Via
}

// Functions returns the origins within reach of a namespace or group of this node, sorted by
// procedure, the serving ones first.
func (s *Snapshot) Functions(ns string) iter.Seq[FunctionInfo] {
	return func(func(FunctionInfo) bool) {}
}

// MemberInfo is a node within reach, this one included.
type MemberInfo struct {
	ID          NodeID
	Incarnation uint64
	Info        *linkv1.NodeInfo // not to be changed
	Namespaces  []Membership     // those seen from here, sorted
}

// Membership is a node's place in one namespace.
type Membership struct {
	Namespace  string
	Neighbours []Neighbour // sorted by id
}

// Neighbour is one end of a link as the other end tells it.
type Neighbour struct {
	ID   NodeID
	Cost uint32
}

// Members returns the nodes within reach, sorted by id.
func (s *Snapshot) Members() iter.Seq[MemberInfo] { return func(func(MemberInfo) bool) {} }

// Absence says why a procedure cannot be called.
type Absence struct {
	Seen      bool      // it could be called once; else it was never seen here, or too long ago
	Withdrawn time.Time // when it went
	Node      NodeID    // its last origin
	Name      string    // the node's
	Cause     string    // for people: which link fell, which node left, who withdrew it
}

// Absent explains why Find did not find a procedure.
func (s *Snapshot) Absent(ns, procedure string) Absence { return Absence{} }
