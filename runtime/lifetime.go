package rpcmesh

import (
	"context"
	"sync"
	"sync/atomic"
)

// lifetime is how long a node lives, and the goroutines that it waits for.
type lifetime struct {
	ctx      context.Context //nolint:containedctx // ended by cancel: it ends links and serving
	cancel   context.CancelFunc
	tasks    sync.WaitGroup // every goroutine of the node but handlers
	leaving  atomic.Bool    // the node is shutting down, or closed
	shutdown shutdownSignals

	mu          sync.Mutex
	spawnClosed bool // nothing more is spawned
}

func newLifetime() *lifetime {
	l := new(lifetime)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.shutdown.init()
	return l
}

// spawn runs f on a goroutine that Close waits for. It reports false once the node is closed. It does not take the
// table's lock.
func (l *lifetime) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spawnClosed {
		return false
	}
	l.tasks.Go(f)
	return true
}

// closeSpawn makes spawn fail from now on.
func (l *lifetime) closeSpawn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spawnClosed = true
}

// shutdownSignals say how far a node's shutdown has come.
type shutdownSignals struct {
	stopping context.Context //nolint:containedctx // ended by stop, when Shutdown or Close begins
	draining context.Context //nolint:containedctx // ended by drain, when the lame-duck time is over
	refusing context.Context //nolint:containedctx // ended by refuse, when no more calls from outside are taken
	stop     context.CancelFunc
	drain    context.CancelFunc
	refuse   context.CancelFunc
	abrupt   atomic.Bool // Close was called: nothing is waited for
}

func (e *shutdownSignals) init() {
	e.stopping, e.stop = context.WithCancel(context.Background())
	e.draining, e.drain = context.WithCancel(context.Background())
	e.refusing, e.refuse = context.WithCancel(context.Background())
}

func (e *shutdownSignals) cancelAll() {
	e.stop()
	e.drain()
	e.refuse()
}
