package adopt

import (
	"errors"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// errChanged ends a connection because the server's schema has changed.
var errChanged = errors.New("the server's schema has changed")

// monitor registers the server's functions whenever it is up, until Close.
func (a *Server) monitor() {
	defer func() {
		a.setStatus(false, nil, false)
		a.withdraw(none)
	}()
	pause := a.cfg.RetryMin
	for a.ctx.Err() == nil {
		began := time.Now()
		err := a.runConnection()
		if a.ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errChanged) {
			a.markDown(err)
		}
		if time.Since(began) > a.cfg.RetryMax {
			pause = a.cfg.RetryMin
		}
		select {
		case <-a.ctx.Done():
		case <-time.After(pause - rand.N(pause/2+1)):
		}
		pause = min(duration.Times(pause, 2), a.cfg.RetryMax)
	}
}

func none(string) bool { return false }

// markDown withdraws everything. A failure is logged when it is a new one.
func (a *Server) markDown(err error) {
	a.mu.Lock()
	again := !a.up && a.err != nil && connect.CodeOf(a.err) == connect.CodeOf(err)
	a.mu.Unlock()
	if !again {
		a.log.Warn("adopted server down", "error", err.Error())
	}
	a.setStatus(false, err, !isTransient(connect.CodeOf(err)))
	a.withdraw(none)
}

// isTransient tells the codes of what may be over the next time.
func isTransient(code connect.Code) bool {
	switch code {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnknown:
		return true
	default:
		return false
	}
}

// resetState drops what was known of the server's states and its connections.
func (a *Server) resetState() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.states)
	clear(a.refused)
	for _, notice := range []chan struct{}{a.backend.http.lost, a.backend.http.refused, a.backend.http.goingAway} {
		select {
		case <-notice:
		default:
		}
	}
}

// adoptSchema makes found the schema, and withdraws what was registered by another one.
func (a *Server) adoptSchema(found *schema) {
	a.mu.Lock()
	same := a.schema != nil && a.schema.sum == found.sum
	a.schema = found
	a.mu.Unlock()
	if !same {
		a.withdraw(none)
	}
}

// setState records a state.
func (a *Server) setState(service string, s state) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if was, ok := a.states[service]; ok && was == s {
		return
	}
	a.states[service] = s
	a.wakeReconciler()
}

// wakeReconciler has the services looked at again.
func (a *Server) wakeReconciler() { notify(a.reconcileSoon) }
