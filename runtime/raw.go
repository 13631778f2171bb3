package rpcmesh

// Raw is a message in its binary encoding. A stream of this package, a caller's as well as a handler's,
// takes one wherever it takes a message: Send copies B, and Receive writes into B, which it grows where
// it must. So calls can be passed on by those who have no code for their messages.
//
// What B holds is not looked at: the other end finds out whether it is a message of the method's type.
type Raw struct{ B []byte }
