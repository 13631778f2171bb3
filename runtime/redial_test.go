package rpcmesh_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// dials are the times at which a node dialled.
type dials struct {
	mu sync.Mutex
	at []time.Time
}

// count has a node note when it dials.
func (d *dials) count(cfg *rpcmesh.Config) {
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d.mu.Lock()
		d.at = append(d.at, time.Now())
		d.mu.Unlock()
		return dial(ctx, network, addr)
	}
}

// take returns the times noted since the last take.
func (d *dials) take() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := slices.Clone(d.at)
	d.at = nil
	return at
}
