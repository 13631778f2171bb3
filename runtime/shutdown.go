package rpcmesh

import (
	"context"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
)

const (
	// idleConnTimeout is how long connections of callers outside that have been told to end may stay, for one more
	// request each that was already on its way.
	idleConnTimeout = time.Second
	// lastResponseTimeout is how long callers outside may take to read how their calls were cut off.
	lastResponseTimeout = time.Second
	// streamDrainDelay is how long streams may go on undisturbed while their node drains, if half of the available
	// time is not less.
	streamDrainDelay = 5 * time.Second
)

// ErrDraining is why the context of a stream's handler has ended, by [context.Cause], when its node is shutting down.
// The handler should come to an end, and may send and receive until it has. An error of it that goes back to
// this one, or to [context.Canceled], reaches the caller as unavailable. It is told 5 s after the node has begun to
// drain, or after half of the time that [Node.Shutdown] has for that if it is less: shorter streams end by themselves.
// Handlers of unary calls are not told.
var ErrDraining error = connect.NewError(connect.CodeUnavailable, "the node is shutting down")

// Stopping returns a channel that is closed as soon as [Node.Shutdown] or [Node.Close] is called. Whoever tells load
// balancers that the node is ready should say no from then on, as the gateway's health service and [Node.Readiness] do.
func (n *Node) Stopping() <-chan struct{} { return n.life.shutdown.stopping.Done() }

// Draining returns a channel that is closed when [Config.LameDuck] has passed since Shutdown was called, or the node
// is closed: from then on its callers should go elsewhere. A server of the user's own that has the node's gateway
// should be shut down then.
func (n *Node) Draining() <-chan struct{} { return n.life.shutdown.draining.Done() }

// Readiness returns a handler that answers 200 (OK) while the node is ready for callers and 503 (Service Unavailable)
// otherwise, for load balancers and the readiness probes of Kubernetes. The node is ready once one of the links that
// it dials has been, see [Link.Ready], and until it stops, see [Node.Stopping]. The handler tells nothing else and
// asks for no token.
func (n *Node) Readiness() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if why := n.unready(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n")) // fails where the caller has gone
	})
}

// unready says why the node is not ready; nothing where it is.
func (n *Node) unready() string {
	switch {
	case n.life.shutdown.stopping.Err() != nil:
		return "stopping"
	case !n.links.hasLinked.Load() && n.links.dials():
		return "starting: no link has been ready yet"
	}
	return ""
}

// dials reports whether the node dials links.
func (ls *linkSet) dials() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.dialled) > 0
}

// Admit implements [rawcall.GatewayNode].
func (n *gatewayNode) Admit(ctx context.Context) error {
	if _, own := ctx.Value(httpRequestKey{}).(*httpRequest); !own && !n.server.external.otherServers.Load() {
		n.server.external.otherServers.Store(true)
	}
	if n.life.shutdown.refusing.Err() == nil {
		return nil
	}
	return n.identity.failedBy(ErrDraining, notStarted)
}

// Shutdown ends the node in order, so that no call is lost for it where there are other nodes to take them.
//
//  1. It is told to be unready: [Node.Stopping], the health service of its gateway, [Node.Readiness]. For the time of
//     [Config.LameDuck] nothing else changes, so that load balancers can notice.
//  2. Its listeners close, and callers from outside are told to use other connections: by GOAWAY over HTTP/2, by
//     "Connection: close" with the answer to their next request over HTTP/1.1. What they had asked before they could
//     know is served; for at most a second the node waits for connections that are idle. Then no call from outside is
//     taken on: it fails with unavailable, and has not started.
//  3. It withdraws the node's functions and waits until the others know, for [Config.Keepalive] at most; new calls go
//     around the node where there is another way.
//  4. It waits until the calls that run here, those made from here, those on their way through here and the requests of
//     other HTTP handlers have ended, or ctx has. Streams that do not end by themselves are told: see [ErrDraining].
//  5. It says goodbye on every link and closes the node. Calls that still run are cut off, with unavailable.
//
// ctx bounds all of it, the lame-duck time too. Shutdown returns ctx's error if calls were cut off.
func (n *Node) Shutdown(ctx context.Context) error {
	n.lameDuck(ctx)
	n.server.drainExternal(ctx)
	if names, ok := n.table.withdrawAll(); ok {
		// A call in transit would be lost when its link is closed.
		known, cancel := context.WithTimeout(ctx, n.cfg.Keepalive)
		_ = n.table.waitVisible(known, names...) // slower nodes learn of it from the goodbye
		cancel()
	}
	drained := n.interruptStreamsLater(ctx)
	err := n.awaitCalls(ctx)
	drained()
	n.closeNow()
	return err
}

// lameDuck makes the node report that it is not ready, and waits until that may have been noticed.
func (n *Node) lameDuck(ctx context.Context) {
	e := &n.life.shutdown
	first := e.stopping.Err() == nil
	e.stop()
	if n.cfg.LameDuck == 0 || e.draining.Err() != nil {
		return
	}
	if first {
		n.log.Info("lame duck", "for", n.cfg.LameDuck)
	}
	timer := time.NewTimer(n.cfg.LameDuck)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.draining.Done(): // another Shutdown began earlier
	case <-ctx.Done():
	}
}

// interruptStreamsLater ends the contexts of streams after a while, unless the function that it returns, which waits,
// is called first.
func (n *Node) interruptStreamsLater(ctx context.Context) (drained func()) {
	patience := streamDrainDelay
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithCancel(ctx)
	var told sync.WaitGroup
	told.Go(func() {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-timer.C:
			n.origins.streams.interrupt(ErrDraining)
		case <-ctx.Done():
		}
	})
	return func() {
		cancel()
		told.Wait()
	}
}

// awaitCalls waits until all that runs here has ended, or until ctx has.
func (n *Node) awaitCalls(ctx context.Context) error {
	remind := remind(ctx, n.log.Logger)
	defer remind.stop()
	if err := n.origins.drain(ctx, remind); err != nil {
		return err
	}
	if err := n.drainRelayed(ctx, remind); err != nil {
		return err
	}
	return n.server.external.requests.wait(ctx)
}

// drainRelayed stops relaying, and waits until the calls that are being relayed have ended, or until ctx has.
func (n *Node) drainRelayed(ctx context.Context, remind *reminder) error {
	n.router.relaying.Store(false)
	for _, s := range n.table.upSessions() {
		for drained := s.link.Drained(); drained != nil; {
			select {
			case <-drained:
				drained = nil
			case <-remind.c():
				remind.log("Shutdown waits for calls on their way through this node", attrPeer(s.link.Peer()))
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}
