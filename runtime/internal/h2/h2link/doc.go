// Package h2link carries a link over HTTP/2: one Connect bidirectional stream on a connection of its
// own, read and written by the goroutines that have something to read or write.
//
// net/http serves any HTTP/2 client and any number of streams; for that it moves each frame between
// goroutines. A link needs none of it. A [Conn] speaks the same HTTP/2 (RFC 9113) and the same
// Connect protocol, so it works towards net/http, connect-go and proxies, and they towards it.
//
// # Words
//
//   - message: a Connect message of the stream, a prefix and a packet of the link.
//   - head room: the bytes before a packet in its slice, into which the headers in front of it go.
//   - in flight: DATA that has been written, and is not known to have been read by the peer.
//   - congested: so much is in flight that bulk had better wait.
//   - idle frame: one that is no part of a message, such as PING or WINDOW_UPDATE.
//   - marked: a dialler whose first SETTINGS, or ALPN, show that it opens a link.
//   - to have the socket: to be the one goroutine that writes; see socketState.
//
// # Writing
//
// Send puts the header of the DATA frame and the prefix of the Connect message into the head room
// of the packet: a packet that fits a frame and the windows leaves in one system call. TrySend does
// the same without ever waiting.
//
// Whoever writes has the socket until it is done, but no lock that a reader needs. Control frames of the reader
// (acknowledgements, WINDOW_UPDATEs) are queued. Who has the socket writes the queue before giving it back; if nobody
// has it the reader writes what goes without blocking, and a goroutine that ends with the queue writes the rest. So a
// reader never waits for a writer.
//
// A Conn finds out by PING, behind each 128 KiB or more, what the peer has read. Congested reports that so much is in
// flight that bulk had better wait; Send and TrySend go on all the same.
//
// # Reading
//
// Receive reads the socket into a buffer and returns messages where they lie in it. It acts on all other
// frames on the way. While nobody calls it nothing is read: no WINDOW_UPDATE is sent and no PING
// answered. A session reads at all times, so that is the backpressure of last resort only.
//
// # Who gets a connection
//
// Both endpoints, and net/http, are behind one port. A [Listener] takes the connections of rpcmesh diallers, which
// mark themselves. Others that speak HTTP/2 it gives to [Options].HTTP2 where there is that, which is package h2serve in
// a node with a gateway; whatever is left is for net/http:
//
//   - Without TLS by the setting 0xf4d5 with the value 0x6d657368, "mesh", in the first SETTINGS
//     frame. The id is of the range that RFC 7540 section 11.3 keeps for experiments, and who does
//     not know a setting ignores it (RFC 9113 section 6.5.2). The Listener reads up to 129 bytes to
//     see it and stops at the first that tells; whoever serves the connection reads the same bytes again.
//   - Over TLS by ALPN: a dialler offers "rpcmesh-h2" before "h2". net/http speaks HTTP/2 over TLS
//     only on a *tls.Conn, out of which nothing can be read and put back, so the first SETTINGS are
//     too late to tell.
//
// A dialler that meets a stock server, or a proxy, is served by it: the mark is ignored and ALPN
// falls back to "h2". A stock client that meets a Listener gets one of the other two.
//
// # Limits
//
// Who breaks a rule or a limit gets a GOAWAY that says so, the code in the third column, and the
// connection ends. An error of the same text reaches the caller.
//
//	of the peer                           at most                  otherwise
//	message                               Options.MaxMessage       resource_exhausted, to the peer too
//	DATA under way                        Options.Window           FLOW_CONTROL_ERROR
//	DATA frame                            1 MiB, never held whole  FRAME_SIZE_ERROR
//	other frame that is parsed            16 KiB                   FRAME_SIZE_ERROR
//	header list (RFC 9113 section 6.5.2)  16 KiB                   status 431; from a server an error
//	header block with its CONTINUATIONs   48 KiB                   ENHANCE_YOUR_CALM
//	answers that wait to be written       16 KiB                   ENHANCE_YOUR_CALM
//	settings in a frame                   100                      ENHANCE_YOUR_CALM
//	idle frames in a row, in 10 s         1000                     ENHANCE_YOUR_CALM
//	   (PING, SETTINGS, WINDOW_UPDATE, PRIORITY, GOAWAY, empty DATA, unknown and others; those
//	   that follow DATA of ours do not count)
//	streams beside the call               100, each REFUSED_STREAM ENHANCE_YOUR_CALM
//	details of the error that ends        64                       more are dropped
//	time for its part of the start        Options.HandshakeTimeout deadline_exceeded
//	time to take 64 KiB of a packet       Options.WriteTimeout     FLOW_CONTROL_ERROR, if it reads
//	time for an orderly close             Options.CloseTimeout     the socket is closed
//
// The buffer for reading begins with 4 KiB and grows to 128 KiB as the peer fills it; a longer
// message is put together in memory that grows as it comes. How long a peer may be silent between
// messages is for the session to decide, which has a keepalive of its own.
package h2link
