package rawcall

// Message is a message in its binary encoding. A stream of package rpcmesh, a caller's as well as a handler's,
// takes one wherever it takes a message: Send copies B, and Receive writes into B, which it grows where
// it must. So calls can be passed on by those who have no code for their messages.
//
// What B holds is not looked at: the other end finds out whether it is a message of the method's type.
type Message struct{ B []byte }

// ReceiveStopper is what [connect.CallInfo.TransportInfo] holds in a handler of package rpcmesh. One who
// passes a stream on to another handler is to receive no more once that one has ended the call, and may
// be waiting in Receive.
type ReceiveStopper interface {
	// StopReceiving ends a Receive of the handler's stream that waits, and every later one, with
	// canceled. The handler can still send. Any goroutine may call it until the handler has returned.
	StopReceiving()
}

// HeaderReceiver is what the client streams of package rpcmesh are, too. It lets one who passes a call on pass
// the response's headers on when they come, which may be long before there is a message.
type HeaderReceiver interface {
	// ReceiveHeaders waits until Receive would return or the response's headers are there. It reports
	// whether it is the headers alone: then [connect.CallInfo.ResponseHeader] has them. It is called
	// before the first Receive, and counts as one.
	ReceiveHeaders() bool
}
