// Package h2core has what the two HTTP/2 endpoints (RFC 9113) share: package h2link, which carries a link, and package
// h2serve, which serves any client. It frames and checks; it starts no goroutine, takes no lock and writes to no
// connection.
//
//   - [FrameReader] reads frames, and bounds what a peer can make its reader hold: frames, header blocks and header lists.
//   - The Append functions encode frames into a buffer of the caller's.
//   - [Inflow] and [Outflow] are the flow-control windows of a stream or a connection.
//   - [StreamState] is the state of a stream, [ResetStreams] what is remembered of those that this end has reset.
//   - [Settings] checks and keeps the peer's settings.
//   - [ParseRequest], [CheckFields], [CheckTrailers] and [BodyLength] find what makes a message malformed.
//   - [FloodCounter] finds a peer that only keeps this end busy.
//   - [CheckTLS] is what HTTP/2 requires of TLS.
//
// What a peer does wrong is a connection error ([ConnError]), unless RFC 9113 makes it an error of one stream
// ([http2.StreamError]). h2link has one stream, and so takes every error as the connection's.
//
// A frame may have 100 settings at most; 128 reset streams are remembered. All other limits are the endpoints'.
package h2core
