package h2core

// StreamState is the state of a stream that the client has opened (RFC 9113 section 5.1). Nothing is pushed here, so the
// reserved states are not among them.
//
//	                    idle
//	                     | Open: HEADERS
//	                     v
//	   EndLocal        open        EndRemote
//	     .--------------+|--------------.
//	     v               |              v
//	half-closed          |         half-closed
//	  (local)            |          (remote)
//	     |               | Close:       |
//	     | EndRemote,    | RST_STREAM,  | EndLocal,
//	     | Close         | GOAWAY       | Close
//	     '------------> closed <--------'
//
// Open, EndLocal and EndRemote do nothing in a state that they do not lead out of.
type StreamState uint8

// The states of a stream.
const (
	StreamIdle StreamState = iota
	StreamOpen
	StreamHalfClosedLocal  // this end has sent END_STREAM
	StreamHalfClosedRemote // this end has received END_STREAM
	StreamClosed
)

// Open opens an idle stream.
func (s *StreamState) Open() {
	if *s == StreamIdle {
		*s = StreamOpen
	}
}

// EndLocal notes that END_STREAM has been sent.
func (s *StreamState) EndLocal() {
	switch *s {
	case StreamOpen:
		*s = StreamHalfClosedLocal
	case StreamHalfClosedRemote:
		*s = StreamClosed
	}
}

// EndRemote notes that END_STREAM has been received.
func (s *StreamState) EndRemote() {
	switch *s {
	case StreamOpen:
		*s = StreamHalfClosedRemote
	case StreamHalfClosedLocal:
		*s = StreamClosed
	}
}

// Close notes that the stream has been reset, or has ended with its connection.
func (s *StreamState) Close() { *s = StreamClosed }

// CanSend reports whether DATA may be sent.
func (s StreamState) CanSend() bool { return s == StreamOpen || s == StreamHalfClosedRemote }

// CanReceive reports whether DATA may be received.
func (s StreamState) CanReceive() bool { return s == StreamOpen || s == StreamHalfClosedLocal }
