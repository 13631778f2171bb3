package main

import (
	"context"
	"errors"
	"net"
	"sync"
)

// cable is what a node's link runs over. It can be cut as a real one can: what runs over it breaks, and
// nothing gets through any more until it is mended.
type cable struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

// dial is the node's Config.Dial.
func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return nil, errors.Join(errors.New("the cable is cut"), conn.Close())
	}
	c.conns = append(c.conns, conn)
	return conn, nil
}

func (c *cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for _, conn := range c.conns {
		_ = conn.Close() // it may have gone by itself
	}
	c.conns = nil
}

func (c *cable) Mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
}
