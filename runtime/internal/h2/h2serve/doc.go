// Package h2serve serves HTTP/2 connections (RFC 9113) of any client: each request by an http.Handler, as
// net/http does, but for those that a [BufferedHandler] takes.
//
// net/http's server has three goroutines for a connection and one for each request, and each frame goes from
// one to another; on small machines these switches are most of what a short call costs. Here one goroutine
// reads, and whoever has something to say writes.
//
// # Buffered requests
//
// A request that a BufferedHandler wants is buffered by the reader until its body is there, and given to the BufferedHandler,
// which may answer it from any goroutine at any later time. Many can be under way without a goroutine, and
// their answers leave in one write. A request that does not come whole at once, or is long, is served by
// the Handler.
//
// # Writing
//
// What is said is appended to the connection's output, in order, by whoever says it. One goroutine at a time
// writes it: the one that flushes first, and it takes along what is said meanwhile. The reader never
// waits for a write: what does not go at once it leaves to a goroutine that ends with it.
//
// # Leaving
//
// When [Options.Drain] ends, each client is told by a GOAWAY to open no more streams, and a PING behind it tells when
// it has read that, or a second passes. Until then its requests are served; then it is told which was the last, and
// later ones are refused (REFUSED_STREAM): it knows that they have not begun. The connection ends with its last stream.
//
// # Bounds
//
// Streams that are open, and handlers that still run, are bounded by [Options.MaxStreams]; bodies that have
// come and are not read by the windows; what waits to be written by the streams' windows, a mark above which
// handlers wait, and a limit for what the peer makes this end say. Who reads nothing has its connection closed, who
// grants no windows its streams reset; the end of a response waits for those without its handler's goroutine. A
// connection on which nothing is asked is closed too. Who does nothing but keep this end busy (frames
// without use, resets, streams that are refused) is told ENHANCE_YOUR_CALM.
package h2serve
