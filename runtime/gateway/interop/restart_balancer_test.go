package interop

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// probeEvery is how often a balancer asks whether a gateway is ready, and so how late it may notice.
const probeEvery = 50 * time.Millisecond

// balancer stands for a Service of Kubernetes before gateways: it gives each connection that it is asked for to one of
// those that are ready, by their readiness probes, and leaves the connections that there are alone.
type balancer struct {
	t        *testing.T
	listener net.Listener
	client   http.Client
	ctx      context.Context //nolint:containedctx // the balancer's life
	tasks    sync.WaitGroup

	mu    sync.Mutex
	ready map[string]bool // by address
	turn  []string
}

// newBalancer balances over the gateways at addresses until the test ends.
func newBalancer(t *testing.T, addresses ...string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := &balancer{t: t, listener: l, ctx: ctx, ready: map[string]bool{}, turn: addresses}
	b.client.Transport = &http.Transport{DisableKeepAlives: true}
	for _, address := range addresses {
		b.tasks.Go(func() { b.watch(address) })
	}
	b.tasks.Go(b.accept)
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		b.tasks.Wait()
	})
	return b
}

func (b *balancer) address() string { return b.listener.Addr().String() }

// watch asks a gateway, again and again, whether it is ready.
func (b *balancer) watch(address string) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		is := b.probe(address)
		b.mu.Lock()
		b.ready[address] = is
		b.mu.Unlock()
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
	}
}

func (b *balancer) probe(address string) bool {
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	res, err := b.client.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// pick returns the next gateway that is ready, "" where none is.
func (b *balancer) pick() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, address := range b.turn {
		if b.ready[address] {
			b.turn = append(append(append([]string{}, b.turn[:i]...), b.turn[i+1:]...), address)
			return address
		}
	}
	return ""
}

func (b *balancer) accept() {
	for {
		near, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.tasks.Go(func() { b.join(near) })
	}
}

// join connects a client's connection with a gateway.
func (b *balancer) join(near net.Conn) {
	defer near.Close()
	far, err := new(net.Dialer).DialContext(b.ctx, "tcp", b.pick())
	if err != nil {
		if b.ctx.Err() == nil {
			b.t.Logf("the balancer has no gateway for a connection: %v", err)
		}
		return
	}
	defer far.Close()
	stop := context.AfterFunc(b.ctx, func() {
		_ = near.Close()
		_ = far.Close()
	})
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { pass(near, far) })
	pass(far, near)
	back.Wait()
}

// pass passes on what comes from one connection, its end too.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}
