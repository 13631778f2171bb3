package mesh

import "github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"

// EventKind is what happened.
type EventKind uint8

// The kinds of events. All but LinkSynced and those after it are of one namespace of this node; FunctionDiffers is of the
// namespace in which this node holds the function.
const (
	MemberJoined         EventKind = iota + 1 // a node came into reach
	MemberLeft                                // a node said goodbye
	MemberLost                                // a node went out of reach
	MemberChanged                             // a node restarted, or its info or links changed
	FunctionAdded                             // an origin came into reach
	FunctionWithdrawn                         // an origin was withdrawn or went out of reach
	FunctionShadowed                          // two origins are in each other's way; Owner's serves
	FunctionIncompatible                      // a replica is kept out: its schema is not known to fit that of Owner's
	FunctionDiffers                           // as above, of this node's own: the two are to be compared; see Core.Fit
	LinkSynced                                // all that the peer at Link had to send is known here
	LinkKnown                                 // and all that this node had to send is in effect at the peer, where that says so
	NodeDisputed                              // records of this node go round that are not its own; they are superseded
	RecordsDropped                            // records of others that the peer at Link sent were not taken in
	FunctionCrowded                           // a function has more origins than count
)

// Event is something that happened to the mesh as seen from here.
type Event struct {
	Kind      EventKind
	Namespace string
	Node      nodeid.ID // the member, or the function's origin
	Name      string    // the node's
	Procedure string    // of function events
	Callable  bool      // of function events: the procedure can be called from here now, be it elsewhere
	Owner     nodeid.ID // of FunctionShadowed and those after it: the origin that serves instead of Node's
	OwnerName string
	Schema    []byte // of FunctionIncompatible and FunctionDiffers: the hash of Owner's
	Link      LinkID // of LinkSynced, LinkKnown and RecordsDropped
	Count     int    // of NodeDisputed and RecordsDropped: how many records since the last such event
	Cause     string // for people: why a member or function went, or what is wrong
}
