package link

import (
	"context"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// Peer is the other end of a session, as it says itself.
type Peer struct {
	Node        NodeID
	Incarnation uint64
	// Join is what the other end said of itself and of the link. It is shared: don't change it.
	Join *linkv1.Join
	// Features are the names of what the other end can do beyond the wire's first version.
	Features []string
}

// Session is a link that has been started. Its methods may be called concurrently.
type Session struct {
	peer Peer
}

// Dial starts a session on a connection that this end dialled. ask says who this node is and what it
// wants the link to carry; the limits in it are filled in. It returns within the handshake timeout. If
// it fails, the connection is closed; the error is a *connect.Error: unauthenticated where the proof
// was wrong, failed_precondition for a link to itself, already_exists where the other end is another
// start of this very node.
func Dial(ctx context.Context, c Conn, cfg Config, ask *linkv1.Join) (*Session, error) {
	panic("not implemented")
}

// Accept starts a session on a connection that the other end dialled, likewise. answer is called once
// the other end has proven the secret; what it returns says who this node is and what the link will
// carry, an error refuses the link (a *connect.Error is told to the other end).
func Accept(ctx context.Context, c Conn, cfg Config, answer func(peer Peer) (*linkv1.Join, error)) (*Session, error) {
	panic("not implemented")
}

// Peer returns the other end.
func (s *Session) Peer() Peer { return s.peer }

// Run reads until the session ends, then ends every call on it and waits for the session's goroutines
// (handlers belong to the Workers). It is called once, soon after Dial or Accept, and returns an *Ended.
func (s *Session) Run(h Handler) error { panic("not implemented") }

// Close sends what is ready to be sent and a goodbye, then ends the session. It waits for the sending
// at most a second, and not for Run.
func (s *Session) Close(bye *linkv1.Goodbye) { panic("not implemented") }

// TableChanged makes the writer pull the table again. It never blocks.
func (s *Session) TableChanged() { panic("not implemented") }

// Open prepares a call over the session. The call is opened with its first SendHeaders, Send,
// CloseSend or Receive. It fails with a *connect.Error if the session has ended.
func (s *Session) Open(ctx context.Context, o Open) (*ClientCall, error) { panic("not implemented") }
