package adopt

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// connection is one time of the server being up.
type connection struct {
	*Server
	hasHealth         bool           // the server has a health service
	tasks             sync.WaitGroup // those that follow its states, and the mesh
	retry             time.Duration  // until services that others have are tried again
	watchingNamespace bool           // whenever a function is withdrawn there

	watchMu      sync.Mutex
	watchCtx     context.Context    //nolint:containedctx // that of the health watches, until they are to start again
	stopWatching context.CancelFunc // ends watchCtx
	watching     chan struct{}      // closed while health watches may run
}

// runConnection finds out whether the server is up, and registers its functions until it is not. It returns why.
func (a *Server) runConnection() error {
	t := &connection{Server: a, retry: a.cfg.RetryMin, watching: make(chan struct{})}
	ctx, cancel := context.WithCancel(a.ctx)
	defer t.tasks.Wait()
	defer cancel()
	t.startWatches(ctx)
	a.resetState()
	if err := t.detect(ctx); err != nil {
		return err
	}
	found, err := t.readSchema(ctx)
	if err != nil {
		return err
	}
	a.adoptSchema(found)
	if t.hasHealth {
		t.followState(ctx, "")
		for _, s := range found.services {
			t.followState(ctx, s.name)
		}
	}
	return t.run(ctx)
}

// detect probes the server by HTTP/2 and, where that may be why it fails, by HTTP/1.1.
func (t *connection) detect(ctx context.Context) error {
	w := t.backend.http
	w.useHTTP1.Store(false)
	alive, err := t.probe(ctx)
	if !alive && w.http1 != nil && !isNotConnected(err) {
		w.useHTTP1.Store(true)
		var old error
		alive, old = t.probe(ctx)
		if !alive {
			w.useHTTP1.Store(false)
			return connect.Errorf(connect.CodeUnavailable, "%s; and over HTTP/1.1: %s", err.Error(), old.Error())
		}
	}
	if !alive {
		return err
	}
	return nil
}

// probe asks for the state of the whole server. alive tells whether the server has answered, whatever it
// said.
func (t *connection) probe(ctx context.Context) (alive bool, err error) {
	began := time.Now()
	s, known, alive, err := t.health.check(ctx, "")
	switch {
	case known:
		t.hasHealth = true
		t.setState("", s)
	case !alive && ctx.Err() == nil && time.Since(began) >= t.cfg.ProbeTimeout:
		t.backend.http.closeSilent(began)
	}
	return alive, withReason(err)
}

// withReason says of an error what caused it: for this node's people, not for its callers.
func withReason(err error) error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || errors.Unwrap(e) == nil {
		return err
	}
	return connect.Errorf(e.Code(), "%s: %s", e.Message(), errors.Unwrap(e).Error()).WithCause(err)
}

// readSchema returns the server's schema.
func (t *connection) readSchema(ctx context.Context) (*schema, error) {
	if t.fixedSchema != nil {
		return t.fixedSchema, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.ProbeTimeout)
	defer cancel()
	return readSchema(ctx, t.client, t.cfg.Services, &t.cfg.Limits)
}

// run registers and withdraws as the server's states tell, until the server is down or another one.
func (t *connection) run(ctx context.Context) error {
	ticker := time.NewTicker(t.cfg.ProbeInterval)
	defer ticker.Stop()
	w := t.backend.http
	lost, going := t.newDebouncer(w.lost), t.newDebouncer(w.goingAway)
	for {
		var retry <-chan time.Time
		if t.reconcile() {
			t.watchNamespace(ctx)
			retry = time.After(t.retry - rand.N(t.retry/2+1))
			t.retry = min(duration.Times(t.retry, 2), t.cfg.RetryMax)
		}
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-retry:
		case <-t.reconcileSoon:
		case <-ticker.C:
			err = t.answers(ctx)
		case <-w.refused:
			err = t.accepts(ctx)
		case <-lost.active:
			err = t.recheck(ctx)
			lost.pause()
		case <-lost.resumeAt:
			lost.resume()
		case <-going.active:
			t.stopWatches()
			going.pause()
		case <-going.resumeAt:
			err = w.listens(ctx, t.url)
			if err == nil {
				t.startWatches(ctx)
			}
			going.resume()
		}
		if err != nil {
			return err
		}
	}
}

// accepts is nil if the server takes new connections and answers.
func (t *connection) accepts(ctx context.Context) error {
	if err := t.backend.http.listens(ctx, t.url); err != nil {
		return err
	}
	return t.answers(ctx)
}

// answers is nil if the server answers.
func (t *connection) answers(ctx context.Context) error {
	return t.retryConnGone(ctx, func() error {
		if alive, err := t.probe(ctx); !alive {
			return err
		}
		return nil
	})
}

// maxConnGoneRetries is how often the server is asked while it lets go of one connection after the other.
const maxConnGoneRetries = 5

// retryConnGone asks again while it is the connection, and not the server, that goes.
func (t *connection) retryConnGone(ctx context.Context, ask func() error) (err error) {
	for try := range maxConnGoneRetries {
		err = ask()
		if _, gone := errors.AsType[*connGoneError](err); !gone {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(duration.Times(t.cfg.RetryMin, 1<<try)):
		}
	}
	return err
}

// recheck sees after a lost connection whether the server is still there, and still the same.
func (t *connection) recheck(ctx context.Context) error {
	if err := t.accepts(ctx); err != nil {
		return err
	}
	var found *schema
	err := t.retryConnGone(ctx, func() (err error) {
		found, err = t.readSchema(ctx)
		return err
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.schema.sum != found.sum {
		return errChanged
	}
	return nil
}
