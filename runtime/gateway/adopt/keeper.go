package adopt

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// errChanged ends an attendance because the server's schema is another one now.
var errChanged = errors.New("the server's schema has changed")

// keep registers the server's functions whenever it is up, until Close.
func (a *Adopted) keep() {
	defer func() {
		a.note(false, nil, false)
		a.withdraw(none)
	}()
	pause := a.cfg.RetryMin
	for a.ctx.Err() == nil {
		began := time.Now()
		err := a.attend()
		if a.ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errChanged) {
			a.down(err)
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

// down withdraws everything. A failure is logged when it is a new one.
func (a *Adopted) down(err error) {
	a.mu.Lock()
	again := !a.up && a.err != nil && connect.CodeOf(a.err) == connect.CodeOf(err)
	a.mu.Unlock()
	if !again {
		a.log.Warn("adopted server down", "error", err.Error())
	}
	a.note(false, err, !passes(connect.CodeOf(err)))
	a.withdraw(none)
}

// passes tells the codes of what may be over the next time.
func passes(code connect.Code) bool {
	switch code {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnknown:
		return true
	default:
		return false
	}
}

// attendance is one time of the server being up.
type attendance struct {
	*Adopted
	known     bool           // the server has a health service
	tasks     sync.WaitGroup // those that follow its states, and the mesh
	retry     time.Duration  // until services that others have are tried again
	listening bool           // to the mesh

	rounds sync.Mutex
	round  context.Context    //nolint:containedctx // that of the streams that follow states, until they are to begin anew
	stop   context.CancelFunc // ends round
	begun  chan struct{}      // closed while there is a round
}

// attend finds out whether the server is up, and registers its functions until it is not. It returns why.
func (a *Adopted) attend() error {
	t := &attendance{Adopted: a, retry: a.cfg.RetryMin, begun: make(chan struct{})}
	ctx, cancel := context.WithCancel(a.ctx)
	defer t.tasks.Wait()
	defer cancel()
	t.begin(ctx)
	a.forget()
	if err := t.find(ctx); err != nil {
		return err
	}
	found, err := t.read(ctx)
	if err != nil {
		return err
	}
	a.take(found)
	if t.known {
		t.follow(ctx, "")
		for _, s := range found.services {
			t.follow(ctx, s.name)
		}
	}
	return t.watch(ctx)
}

// forget drops what was known of the server's states and its connections.
func (a *Adopted) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.states)
	clear(a.taken)
	for _, notice := range []chan struct{}{a.backend.wire.lost, a.backend.wire.refused, a.backend.wire.going} {
		select {
		case <-notice:
		default:
		}
	}
}

// find probes the server, by the other version of HTTP too where that may be what it takes.
func (t *attendance) find(ctx context.Context) error {
	w := t.backend.wire
	w.useOld.Store(false)
	alive, err := t.probe(ctx)
	if !alive && w.http1 != nil && !isNotConnected(err) {
		w.useOld.Store(true)
		var old error
		if alive, old = t.probe(ctx); !alive {
			w.useOld.Store(false)
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
func (t *attendance) probe(ctx context.Context) (alive bool, err error) {
	began := time.Now()
	s, known, alive, err := t.health.check(ctx, "")
	switch {
	case known:
		t.known = true
		t.set("", s)
	case !alive && ctx.Err() == nil && time.Since(began) >= t.cfg.ProbeTimeout:
		t.backend.wire.silence(began)
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

// read returns the server's schema.
func (t *attendance) read(ctx context.Context) (*schema, error) {
	if t.given != nil {
		return t.given, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.ProbeTimeout)
	defer cancel()
	return readSchema(ctx, t.client, t.cfg.Services, &t.cfg.Limits)
}

// take makes found the schema, and withdraws what was registered by another one.
func (a *Adopted) take(found *schema) {
	a.mu.Lock()
	same := a.schema != nil && a.schema.sum == found.sum
	a.schema = found
	a.mu.Unlock()
	if !same {
		a.withdraw(none)
	}
}

// set records a state.
func (a *Adopted) set(service string, s state) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if was, ok := a.states[service]; ok && was == s {
		return
	}
	a.states[service] = s
	a.wake()
}

// wake has the services looked at again.
func (a *Adopted) wake() { notify(a.nudge) }

// begin lets streams follow states until pause.
func (t *attendance) begin(ctx context.Context) {
	t.rounds.Lock()
	defer t.rounds.Unlock()
	t.round, t.stop = context.WithCancel(ctx)
	close(t.begun)
}

// pause ends the streams that follow states until begin: the server lets go of a connection on which they are,
// and waits for them.
func (t *attendance) pause() {
	t.rounds.Lock()
	defer t.rounds.Unlock()
	t.stop()
	t.begun = make(chan struct{})
}

// current waits for a round, and returns the latest. It returns ctx if that ends first.
func (t *attendance) current(ctx context.Context) context.Context {
	t.rounds.Lock()
	begun := t.begun
	t.rounds.Unlock()
	select {
	case <-begun:
	case <-ctx.Done():
		return ctx
	}
	t.rounds.Lock()
	defer t.rounds.Unlock()
	return t.round
}

// follow keeps the state of service up to date until ctx ends: by Watch where the server has it, else by
// asking. That the server is gone is for the probes to find out.
func (t *attendance) follow(ctx context.Context, service string) {
	t.tasks.Go(func() {
		watches := true
		for ctx.Err() == nil {
			round := t.current(ctx)
			if watches {
				err := t.health.watch(round, service, func(s state) { t.set(service, s) })
				watches = !errors.Is(err, errNoWatch)
			}
			if !watches && service != "" { // that of the whole server is what the probes ask for
				if s, known, _, _ := t.health.check(ctx, service); known {
					t.set(service, s)
				}
			}
			select {
			case <-round.Done():
			case <-time.After(t.cfg.ProbeInterval - rand.N(t.cfg.ProbeInterval/4+1)):
			}
		}
	})
}

// notices are those of one kind that are heeded: at once, but not all the time, as a server may close its
// connections for reasons of its own, even each of them at once.
type notices struct {
	all, open <-chan struct{}  // open is nil during a pause
	over      <-chan time.Time // ends the pause
	pause     time.Duration
	cfg       *Config
}

func (a *Adopted) heed(c <-chan struct{}) *notices {
	return &notices{all: c, open: c, pause: a.cfg.RetryMin, cfg: &a.cfg}
}

// rest heeds none for a while.
func (n *notices) rest() {
	n.open, n.over = nil, time.After(n.pause)
	n.pause = min(duration.Times(n.pause, 2), n.cfg.ProbeInterval)
}

func (n *notices) resume() {
	n.open, n.over = n.all, nil
	if len(n.all) == 0 {
		n.pause = n.cfg.RetryMin
	}
}

// watch registers and withdraws as the server's states tell, until the server is down or another one.
func (t *attendance) watch(ctx context.Context) error {
	ticker := time.NewTicker(t.cfg.ProbeInterval)
	defer ticker.Stop()
	w := t.backend.wire
	lost, going := t.heed(w.lost), t.heed(w.going)
	for {
		var retry <-chan time.Time
		if t.reconcile() {
			t.whenOthersGo(ctx)
			retry = time.After(t.retry - rand.N(t.retry/2+1))
			t.retry = min(duration.Times(t.retry, 2), t.cfg.RetryMax)
		}
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-retry:
		case <-t.nudge:
		case <-ticker.C:
			err = t.alive(ctx)
		case <-w.refused:
			err = t.well(ctx)
		case <-lost.open:
			err = t.again(ctx)
			lost.rest()
		case <-lost.over:
			lost.resume()
		case <-going.open:
			t.pause()
			going.rest()
		case <-going.over:
			if err = w.listens(ctx, t.url); err == nil {
				t.begin(ctx)
			}
			going.resume()
		}
		if err != nil {
			return err
		}
	}
}

// well is nil if the server takes new connections and answers.
func (t *attendance) well(ctx context.Context) error {
	if err := t.backend.wire.listens(ctx, t.url); err != nil {
		return err
	}
	return t.alive(ctx)
}

// alive is nil if the server answers.
func (t *attendance) alive(ctx context.Context) error {
	return t.patiently(ctx, func() error {
		if alive, err := t.probe(ctx); !alive {
			return err
		}
		return nil
	})
}

// patience is how often the server is asked while it lets go of one connection after the other.
const patience = 5

// patiently asks again while it is the connection, and not the server, that goes.
func (t *attendance) patiently(ctx context.Context, ask func() error) (err error) {
	for try := range patience {
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

// whenOthersGo has the services that others have tried again when one of their functions is withdrawn.
func (t *attendance) whenOthersGo(ctx context.Context) {
	if t.listening {
		return
	}
	t.listening = true
	t.tasks.Go(func() {
		for e := range t.ns.Watch(ctx) {
			if e.Kind == rpcmesh.FunctionRemoved || e.Kind == rpcmesh.EventsMissed {
				t.wake()
			}
		}
	})
}

// again sees after a lost connection whether the server is still there, and still the same.
func (t *attendance) again(ctx context.Context) error {
	if err := t.well(ctx); err != nil {
		return err
	}
	var found *schema
	err := t.patiently(ctx, func() (err error) {
		found, err = t.read(ctx)
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

// reconcile registers the services that are to be and withdraws the others. It reports whether there is one
// that another node has, or that cannot be registered for another reason.
func (t *attendance) reconcile() (blocked bool) {
	t.mu.Lock()
	wanted := map[string]bool{}
	var missing []service
	for _, s := range t.schema.services {
		wanted[s.name] = t.serves(s.name)
		if wanted[s.name] && t.origins[s.name] == nil {
			missing = append(missing, s)
		}
	}
	serving := t.states[""] != stateNotServing
	t.mu.Unlock()
	if !serving {
		t.settled(false, connect.NewError(connect.CodeUnavailable, "adopt: the server says that it is not serving"))
	}
	t.withdraw(func(name string) bool { return wanted[name] })
	var first error
	for _, s := range missing {
		if err := t.register(s); err != nil && first == nil {
			first = err
		}
	}
	if serving {
		t.settled(true, first)
	}
	return first != nil
}

// settled notes how things stand, and logs it if it is new.
func (a *Adopted) settled(serving bool, err error) {
	a.mu.Lock()
	was, functions := a.up && a.err == nil, 0
	for _, o := range a.origins {
		functions += len(o.Procedures())
	}
	a.mu.Unlock()
	switch {
	case serving && err == nil && !was:
		a.log.Info("adopted server up", "functions", functions)
	case !serving && was:
		a.log.Warn("adopted server not serving")
	}
	a.note(serving, err, serving && err != nil)
}

// serves tells whether service's functions are to be registered. mu is held.
func (a *Adopted) serves(service string) bool {
	return a.states[""] != stateNotServing && a.states[service] != stateNotServing
}

// register registers one service. That it cannot be is logged once.
func (t *attendance) register(s service) error {
	methods := make([]connect.Method, len(s.specs))
	for i, spec := range s.specs {
		methods[i] = connect.Method{Spec: spec, Handler: t.backend.call}
	}
	origin, err := t.reg.Register(methods...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.origins[s.name] = origin
		delete(t.taken, s.name)
		return nil
	}
	if t.taken[s.name] == nil {
		t.log.Warn("adopted service not registered", "service", s.name, "error", err.Error())
	}
	t.taken[s.name] = err
	return err
}
