package mesh

import (
	"fmt"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// LinkID identifies a link at one core. The owner chooses it and never uses it again.
type LinkID uint64

// Policy says how calls are spread over the origins of a function. The values are the wire's.
type Policy uint8

// The policies. All origins of a function must agree on one.
const (
	PolicySingle       = Policy(linkv1.Policy_POLICY_UNSPECIFIED)   // the earliest registered serves, others are shadowed
	PolicyRoundRobin   = Policy(linkv1.Policy_POLICY_ROUND_ROBIN)   // each in turn
	PolicyRandom       = Policy(linkv1.Policy_POLICY_RANDOM)        // any
	PolicyLeastPending = Policy(linkv1.Policy_POLICY_LEAST_PENDING) // the one with the fewest calls open, of two chosen at random
	PolicyNearest      = Policy(linkv1.Policy_POLICY_NEAREST)       // the one with the cheapest path
)

// String returns the policy's name.
func (p Policy) String() string {
	names := [...]string{"single", "round-robin", "random", "least-pending", "nearest"}
	if int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// Function is a function as its origin registered it. It is immutable once registered.
type Function struct {
	Procedure   string // "/pkg.Service/Method"
	StreamType  uint8  // as connect.StreamType
	Idempotency uint8  // as connect.IdempotencyLevel
	Policy      Policy
	Registered  int64  // nanoseconds since 1970; zero on registering: now
	Schema      []byte // hash of what it takes and gives; may be empty
}

// Config is what a core starts with.
type Config struct {
	ID          nodeid.ID
	Incarnation uint64           // when the node started, in nanoseconds since 1970
	Key         []byte           // the public half of the key that it made then; may be empty
	Info        *linkv1.NodeInfo // must not be changed afterwards
	// Observer is set for a proxy: it is no member, originates nothing, and its routes are those of its
	// link's peer.
	Observer bool
	Limits   Limits
}

// Peer is the other end of a link, and what its Join and ours say.
type Peer struct {
	ID          nodeid.ID
	Incarnation uint64
	Key         []byte           // as in Config, proven; empty where the peer has none
	Info        *linkv1.NodeInfo // must not be changed afterwards
	Observer    bool             // the peer is a proxy
	// Acknowledges: both ends say when what the other has sent first is in effect.
	Acknowledges bool
	// Local is what this end's Join said that the link carries, Remote what the peer's did.
	Local, Remote []*linkv1.LinkNamespace
	Cost          uint32 // of one hop over this link; zero: 1
}

// Cause says why a link went down.
type Cause struct {
	Text    string // for people: what broke
	Goodbye bool   // the peer is leaving the mesh
}

// leavingCost is what a way on from a node costs that is about to go: more than any way around it.
const leavingCost = 1 << 24

// DigestInterval is how often each link compares what both ends have.
const DigestInterval = 15 * time.Second

// ForgetAfter is how long records of nodes out of reach are kept.
const ForgetAfter = 10 * time.Minute
