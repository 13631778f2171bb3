// Package link runs one session between two nodes: it proves the shared secret, carries the frames of
// calls and the tables, relays calls from one session into another, bounds what is in progress and
// finds out when the peer is gone.
//
// A Session is an engine without a policy. What is asked of a peer, whom to accept, where a call goes
// and what a table means is decided by the Handler that the session is run with. The wire is defined
// in link.proto; package frame encodes and decodes it.
//
// # Parts
//
//	handshake, proof        Hello, Join, and the proofs of the secret and of a start's key
//	derivedkeys             keys from secrets
//	session, ended          a session's life and the ways it ends
//	reader                  packets in: controls, and frames to the endpoints of calls
//	writer                  packets out: control first, short frames, one chunk of bulk behind them
//	keepalive, probe        signs of life and deadlines
//	table, sessioncalls     the calls of a session by their ids
//	client, callerendpoint  a call as its caller has it, and its endpoint on the session
//	unary, completion       calls that are cheaper, as they are short, or as nobody waits
//	server, handlerendpoint a call as its handler has it, and its endpoint on the session
//	context                 a handler's context
//	stream, queue           what these two endpoints have in common: windows, messages in and out
//	memory, budget          what calls hold, on one session and on all of a node
//	relay, relayendpoint    calls that go on to another session
//	afterunlock             what a frame leaves to be done without the lock
//	local                   calls within the process
//	workers, freelist       goroutines and endpoints that are used again
//	outcome, failure        how a call ended, and how far it had come
//
// # Goroutines
//
// A session has three: the reader, on the goroutine that called Run; the writer; and the keepalive goroutine, which has
// the session's only timer. The reader waits neither for a window nor for a connection, so that windows and control
// always get through: what it cannot send at once is left in a queue that a window bounds, or to the writer. Only
// Handler.Table may delay it, which a node does for some milliseconds at a time, and where more tables come than it
// handles. A caller or handler that finds the session idle writes its frames itself; otherwise whoever is writing takes
// them along.
//
// # Locks
//
// A session has one lock. It guards the session's tables of calls, the state of their endpoints on this session, and
// what is to be written; a local call has one of its own. A function whose name ends with Locked is called with that
// lock held. No goroutine holds the locks of two sessions at once, nor a session's lock while it calls the Handler or
// the Conn. The Budget has a lock that is taken last.
//
// # Bounds
//
// What one call may hold at a node is its window and one frame of data (32 KiB) in each direction; a
// receiver that puts together a message longer than that holds the message besides, up to
// Limits.MaxMessage. So a reader that reads nothing stops its writer after a window and 32 KiB for each
// link between them.
//
// What all calls of a session hold is bounded by Limits.Memory, and by a Budget for all sessions of a node.
// The wire promises each call a window at its start, and may open tens of thousands: to reserve memory for all
// of these would leave next to none for a call. So memory is counted as it is used. What finds no room is
// told so and nothing waits: a call that is opened is refused, data for an open one ends it, and as a call may
// hold no more than is then left to the others, that meets those that hold most. Only what a receiver grants
// beyond the first window, for a message that is being put together, waits: memory for it is reserved when it
// is granted, for one call at least, so that always one goes on.
//
// # Glossary
//
//	link, session    the connection of two nodes; a Session is this node's end of it, and peer the other node
//	dialler, listener  the end that made the connection, and the end that accepted it
//	endpoint         one end of a call on one session; a call has two, and a relayed one two more at each relay
//	opener, answerer the endpoint that opened the call, towards its caller, and the one towards its handler
//	packet           what one Send of a Conn carries: controls and frames
//	control          what is not of one call: tables, pings, the goodbye, the handshake
//	lane             the part of a packet for short frames, which overtakes the rest
//	bulk             frames that have to wait for their turn: those of long messages
//	window           bytes of data that may still be sent (sendWindow) or received (recvWindow) in one direction of a call
//	                 (flow control, RFC 9113, section 5.2); granted again as data is consumed
//	slot             the place of a call in a callTable, which follows from its id
//	exceeder         the one call, or session, that may exceed a limit of memory, so that one always goes on
//	completion       what is called at the end of a call whose caller does not wait
//	certainty        how sure it is whether a call's handler ran
//	open, end        the first and the last of a call's frames: Open and End of link.proto
//	goodbye          what the end that closes says last, with how many opens it has accepted (GOAWAY of RFC 9113)
package link
