package adopt

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// startWatches lets streams follow states until stopWatches.
func (t *connection) startWatches(ctx context.Context) {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	t.watchCtx, t.stopWatching = context.WithCancel(ctx)
	close(t.watching)
}

// stopWatches ends the streams that follow states until startWatches: the server lets go of a connection on which they are,
// and waits for them.
func (t *connection) stopWatches() {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	t.stopWatching()
	t.watching = make(chan struct{})
}

// watchContext waits until watches may run, and returns their context. It returns ctx if that ends first.
func (t *connection) watchContext(ctx context.Context) context.Context {
	t.watchMu.Lock()
	begun := t.watching
	t.watchMu.Unlock()
	select {
	case <-begun:
	case <-ctx.Done():
		return ctx
	}
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	return t.watchCtx
}

// followState keeps the state of service up to date until ctx ends: by Watch where the server has it, else by
// asking. That the server is gone is for the probes to find out.
func (t *connection) followState(ctx context.Context, service string) {
	t.tasks.Go(func() {
		watches := true
		for ctx.Err() == nil {
			round := t.watchContext(ctx)
			if watches {
				err := t.health.watch(round, service, func(s state) { t.setState(service, s) })
				watches = !errors.Is(err, errNoWatch)
			}
			if !watches && service != "" { // that of the whole server is what the probes ask for
				if s, known, _, _ := t.health.check(ctx, service); known {
					t.setState(service, s)
				}
			}
			select {
			case <-round.Done():
			case <-time.After(t.cfg.ProbeInterval - rand.N(t.cfg.ProbeInterval/4+1)):
			}
		}
	})
}
