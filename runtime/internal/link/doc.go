// Package link runs one session between two nodes: it proves the shared secret, carries the frames of
// calls and the tables, relays calls from one session into another, bounds what is under way and
// finds out when the other end is gone.
//
// A Session is an engine without a policy. What is asked of a peer, whom to accept, where a call goes
// and what a table means is decided by the Handler that the session is run with. The wire is defined
// in link.proto.
//
// # Parts
//
//	handshake, proof     the greeting, and the proofs of the secret and of a start's key
//	stretch              keys from secrets
//	session, ended       a session's life and the ways it ends
//	reader               packets in: controls and frames to the ends of calls
//	writer               packets out: control first, small frames, one chunk of bulk behind them
//	keeper               signs of life and deadlines
//	table                the calls of a link by their ids
//	client, callerend    a call as its caller has it, and its end on the session
//	server, handlerend   a call as its handler has it, and its end on the session
//	stream, queue        what these two ends have in common: windows, messages in and out
//	memory, budget       what calls hold, on one session and on all of a node
//	relay                calls that go on to another session
//	local                calls within the process
//	workers, spares      goroutines and ends of calls that are used again
//	wire, headers, openframe, endframe   the coding of frames
//
// # Goroutines
//
// A session has three: the reader, on the goroutine that called Run; the writer; and the keeper,
// which has the session's only timer. The reader waits neither for a window nor for a connection, so
// that credit and control always get through: what it cannot send at once is left in a queue that a
// window bounds, or to the writer. Only Handler.Table may hold it up, which a node does for some
// milliseconds at a time, and where more tables come than it takes in. A caller or handler that finds the session idle writes
// its frames itself; otherwise whoever is writing takes them along.
//
// # Locks
//
// A session has one lock. It guards the session's table of calls, the state of their ends on this
// session, and what is to be written; a local call has one of its own. Nobody holds the locks of two
// sessions at once, nor a session's lock while calling the Handler or the Conn. The Budget has a lock that is
// taken last.
//
// # Bounds
//
// What one call may hold at a node is its window and one frame of data (32 KiB) in each direction; a
// receiver that puts together a message longer than that holds the message besides, up to
// Limits.MaxMessage. So a reader that reads nothing stops its writer after a window and 32 KiB for each
// link between them.
//
// What all calls of a session hold is bounded by Limits.Memory, and by a Budget for all sessions of a node.
// The wire promises each call a window at its start, and may open tens of thousands: to keep memory for all
// of these would leave next to none for a call. So memory is counted as it is taken. What finds no room is
// told so and nobody waits: a call that is opened is refused, data for an open one ends it, and as a call may
// hold no more than is then left to the others, that meets those that hold most. Only what a receiver grants
// beyond the first window, for a message that is being put together, waits: memory for it is reserved when it
// is granted, for one call at least, so that always one goes on.
package link
