package rpcmesh

// callState is how far a call has come, as its caller sees it. Its three parts change by themselves:
//
//	requests   sending -------------------------------> sent
//	              by CloseSend, or by the message of a call that has one request
//
//	response   awaited --------------------------+
//	              | an attempt that may have        | the headers, or a message
//	              v begun is repeated               v
//	           uncertain ----------------------> begun
//
//	call       open ----------------------------------> released
//	              by its end, by Close, or by the end of a stream's context
//
// A call is repeated only while it is open and nothing of its response has come.
type callState struct {
	requests requestState
	response responseState
	released bool
}

type requestState uint8

const (
	requestsSending requestState = iota
	requestsSent
)

type responseState uint8

const (
	responseAwaited responseState = iota
	responseUncertain
	responseBegun
)

// repeatable reports whether another attempt may take the place of the current one.
func (s *callState) repeatable() bool { return !s.released && s.response != responseBegun }

// repeatUncertain notes that an attempt which may have begun is repeated.
func (s *callState) repeatUncertain() {
	if s.response == responseAwaited {
		s.response = responseUncertain
	}
}

// certainty is how far all attempts together have come, at least.
func (s *callState) certainty() certainty {
	if s.response == responseBegun {
		return started
	}
	return unknown
}
