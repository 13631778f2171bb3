// Package h2serve serves HTTP/2 connections (RFC 9113) of any client: each request by an http.Handler, as
// net/http does, but for those that a [BufferedHandler] takes.
//
// net/http's server has three goroutines for a connection and one for each request, and each frame goes from
// one to another; on small machines these switches are most of what a short call costs. Here one goroutine
// reads, and whoever has output writes.
//
// # Words
//
//   - output: frames that wait to be written; see write.go.
//   - writer: the goroutine that has claimed the output, one at a time.
//   - idle frame: one that does nothing for a request, such as PING or empty DATA.
//   - pending: the rest of a response that waits for flow-control windows, without a goroutine.
//   - held: a response of a BufferedHandler's that waits until less output does.
//   - drain: to end a connection in order, by GOAWAY (RFC 9113 section 6.8).
//
// # Buffered requests
//
// A request that a BufferedHandler wants is buffered by the reader until its body is there, and given to the
// BufferedHandler, which may answer it from any goroutine at any later time. Many can be under way without a goroutine,
// and their answers leave in one write. A request that does not come whole at once, or is long, is served by
// the Handler.
//
// # Writing
//
// Frames are appended to the connection's output, in order, by whoever has them. One goroutine at a time
// writes it: the one that flushes first, and it takes along what is appended meanwhile. The reader never
// waits for a write: what does not go at once it leaves to a goroutine that ends with it.
//
// # Draining
//
// When [Options.Drain] ends, each client is told by a GOAWAY to open no more streams, and a PING behind it tells when
// it has read that, or a second passes. Until then its requests are served; then a second GOAWAY says which was the
// last, and later ones are refused (REFUSED_STREAM): the client knows that they have not begun. The connection ends with
// its last stream.
//
// # Limits
//
//	of the client                         at most                  otherwise
//	streams, and handlers that still run  Options.MaxStreams       REFUSED_STREAM
//	body that has come and is not read    Options.BodyWindow       FLOW_CONTROL_ERROR
//	   before the Handler has it          Options.StreamWindow
//	   of all streams                     Options.ConnWindow
//	header list (RFC 9113 section 6.5.2)  Options.MaxHeader        status 431; beyond it ENHANCE_YOUR_CALM
//	frame                                 16 KiB                   FRAME_SIZE_ERROR
//	settings in a frame                   100                      ENHANCE_YOUR_CALM
//	bodies that are buffered              8 MiB each, 16 MiB       the Handler serves it
//	answers that wait to be written       64 KiB                   ENHANCE_YOUR_CALM
//	idle frames in a row, in 10 s         2000                     ENHANCE_YOUR_CALM
//	streams reset unanswered, in 10 s     5000                     ENHANCE_YOUR_CALM
//	time for its part of the start        Options.HandshakeTimeout the connection ends
//	time to read 64 KiB                   Options.WriteTimeout     the connection ends
//	time to grant windows for 64 KiB      Options.WindowTimeout    the stream is reset
//	time without a request                Options.IdleTimeout      GOAWAY
//
// A Handler waits while 256 KiB of output wait to be written. The end of its response waits for windows without its
// goroutine.
package h2serve
