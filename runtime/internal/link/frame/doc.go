// Package frame encodes and decodes what a link carries: packets, the frames of calls in them, and the messages in
// those. It has no state but caches of names, and does no I/O.
//
// link.proto defines the wire. Controls are coded by the generated code. Frames are coded by hand here, as they are
// what a node handles all day; the tests hold this code against the generated one, both ways.
//
// # Packet
//
// A packet is a protobuf message: its controls, then its frames. [NextPart] takes it apart.
//
//	Packet = *(0x0a length Control) *(0x12 length Frame)
//
// # Frame
//
// A frame begins with the call's id, in five bytes, and, where it opens a call, with the hops that are left, in five
// more. Both have a fixed width, so that a relay rewrites them in place and passes the other fields on as they are.
//
//	+------+-----------+--------+-------------+------------------+
//	| 0x0d | id, 4 B   | [0x15  | hops, 4 B]  | the other fields |
//	+------+-----------+--------+-------------+------------------+
//
//	field             said by      meaning
//	open        (3)   opener       what is called, by whom, the request's headers, the time left
//	headers     (4)   answerer     the response's headers
//	window      (5)   both         so many bytes more may be sent to the sender of this frame (a WINDOW_UPDATE)
//	data        (6)   both         a message, or a piece of one
//	more        (7)   both         the message goes on in the next frame with data
//	close_send  (8)   opener       no more messages are sent (END_STREAM)
//	cancel      (9)   opener       the call is canceled (RST_STREAM)
//	end        (10)   answerer     how the call ended: code, message, details, trailers
//	total      (11)   both         the length of the message that data begins
//
// [Frame.Parse] refuses a frame whose id is not first, in which a field comes twice or in an overlong form, or that is
// longer than a frame of its kind may be. It skips unknown fields. It does not look into open, headers, data and end: a
// relay passes them on unseen, and the endpoints decode them with [Open.Parse], [DecodeHeaders] and [DecodeEnd].
//
// # Limits
//
// Data is at most [MaxData] bytes, all else in a frame [MaxBlocks], and what a node says of a caller [MaxCallerText] a
// text. An [OpenCache] keeps no more than a fixed number of entries, whatever a peer names.
//
// # Glossary
//
//	opener      the endpoint of a call that opened it; the other one is the answerer
//	head        the encoded fields before the data, which are hops and open, or headers
//	callee      what is called: namespace, procedure, and the node whose origin it is
//	caller      who made a call, as the node says at which it came into the mesh
//	window      bytes of data that may be sent (RFC 9113, section 5.2); each frame with data costs [DataCost] besides
package frame
