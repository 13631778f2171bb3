package h2serve

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// Options configures how connections are served, and bounds what a client may make this end hold or do. It is not
// changed while connections are served.
type Options struct {
	// Handler serves every request that no BufferedHandler takes, on a goroutine of its own. Required.
	Handler http.Handler
	// Buffered returns whose BufferedHandler may want a request of which the head is there, nil where nobody's does. It is
	// called by connections' readers, concurrently, and must not block. May be nil.
	Buffered func(r *Request) BufferedHandlers
	// MaxStreams is how many streams may be open at once. Default 250.
	MaxStreams int
	// StreamWindow is how many bytes of its body a client may have under way of a stream. It is what a short
	// request may have to wait behind of each long one. Default 256 KiB; 64 KiB at least.
	StreamWindow int
	// BodyWindow is the same once the Handler has the stream, ConnWindow for all together. Default 1 MiB; no less
	// than StreamWindow.
	BodyWindow, ConnWindow int
	// MaxHeader is how many bytes of headers a request may have, as RFC 9113 section 6.5.2 counts them; one
	// with more is answered with 431. Default 1 MiB.
	MaxHeader int
	// HandshakeTimeout is how long the client may take until its first SETTINGS have come. Default 5 s.
	HandshakeTimeout time.Duration
	// WriteTimeout is how long the client may take to read 64 KiB. Default 10 s.
	WriteTimeout time.Duration
	// WindowTimeout is how long the client may take to grant the windows for each 64 KiB begun of a response that
	// waits for them; then the stream is reset. Default 1 min.
	WindowTimeout time.Duration
	// IdleTimeout is how long a connection is kept without a request, or a quarter longer. Default 3 min;
	// negative: for ever.
	IdleTimeout time.Duration
	// Drain ends when no more requests are to come: see the package's documentation. May be nil.
	Drain context.Context //nolint:containedctx // connections go by its end
	// Log gets the panics of handlers. Default: nobody.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	set := func(n *int, least, otherwise int) {
		if *n <= 0 {
			*n = otherwise
		}
		*n = min(max(*n, least), h2core.MaxWindow)
	}
	set(&o.MaxStreams, 1, 250)
	set(&o.StreamWindow, h2core.InitialWindow, 256<<10)
	set(&o.BodyWindow, o.StreamWindow, 1<<20)
	set(&o.ConnWindow, o.StreamWindow, 1<<20)
	set(&o.MaxHeader, 1<<10, 1<<20)
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = 5 * time.Second
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 10 * time.Second
	}
	if o.WindowTimeout <= 0 {
		o.WindowTimeout = time.Minute
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 3 * time.Minute
	}
	if o.Drain == nil {
		o.Drain = context.Background()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// MaxBufferedBody is how long the body of a request is at most, in bytes, that a [BufferedHandler] gets.
const MaxBufferedBody = 8 << 20

const (
	maxBuffering     = 16 << 20  // of memory for bodies that are being buffered on a connection
	maxFrame         = 16 << 10  // longest frame taken: what RFC 9113 section 4.2 demands at least
	maxOutput        = 256 << 10 // of what waits to be written, beyond which handlers wait
	bulkThreshold    = 64 << 10  // of what waits to be written, beyond which answers wait, so that short ones go before
	maxControl       = 64 << 10  // of answers to control frames that wait to be written
	maxIdleFrames    = 2000      // frames without use, one after the other, in floodInterval
	maxResets        = 5000      // of streams that were not answered yet, in floodInterval
	floodInterval    = 10 * time.Second
	writePiece       = 64 << 10
	bufferTimeout    = 20 * time.Millisecond // how long a BufferedHandler's request may take to come, and
	minBufferRate    = 16 << 10              // how much of it must come in as long again, where it is a long one
	maxBeforeFlush   = 16                    // requests that a BufferedHandler handles between two flushes
	maxYields        = 8                     // how often one who is about to write lets others go before
	closeTimeout     = time.Second           // how long the end of a connection may take
	drainPingTimeout = time.Second           // how long a client may take to acknowledge drainPing
)
