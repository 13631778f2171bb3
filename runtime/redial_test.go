package rpcmesh_test

import (
	"context"
	"net"
	"sync"
	"time"
)

// dialFunc is a Config's Dial.
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// countDials notes when dial is used.
func countDials(dial dialFunc, at *[]time.Time) dialFunc {
	var mu sync.Mutex
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		*at = append(*at, time.Now())
		mu.Unlock()
		return dial(ctx, network, addr)
	}
}
