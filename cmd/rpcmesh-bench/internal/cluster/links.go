package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
)

// dialling is how many links of one load are made at once.
const dialling = 16

// dialAll dials n times, each as a client of its own name, and returns one client whose calls take turns on them.
func dialAll(ctx context.Context, p peer.Peer, addr string, o peer.Options, n int) (peer.Client, error) {
	if n == 1 {
		return p.Dial(ctx, addr, o)
	}
	t := &turns{clients: make([]peer.Client, n)}
	errs := make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range dialling {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				own := o
				own.Role, own.Guest = fmt.Sprintf("%s-%d", o.Role, i), true
				t.clients[i], errs[i] = p.Dial(ctx, addr, own)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// turns is clients that take turns.
type turns struct {
	clients []peer.Client
	calls   atomic.Uint64
}

func (t *turns) next() peer.Client {
	return t.clients[t.calls.Add(1)%uint64(len(t.clients))]
}

func (t *turns) Unary(ctx context.Context, payload []byte) ([]byte, error) {
	return t.next().Unary(ctx, payload)
}

func (t *turns) Stream(ctx context.Context) (peer.Stream, error) { return t.next().Stream(ctx) }

func (t *turns) Close() error {
	var errs []error
	for _, c := range t.clients {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
