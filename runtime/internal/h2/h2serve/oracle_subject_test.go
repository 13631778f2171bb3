package h2serve_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// subject is the server of package h2serve.
func subject(l net.Listener, s setup) func() {
	return serveWith(l, s, h2serve.Options{
		Handler: s.handler, MaxStreams: s.maxStreams, Log: s.log,
	})
}

func serveWith(l net.Listener, s setup, o h2serve.Options) func() {
	ctx, cancel := context.WithCancel(s.base)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			if s.tls != nil {
				nc = tls.Server(nc, s.tls)
			}
			wg.Go(func() { _ = h2serve.Serve(ctx, nc, nil, o) })
		}
	})
	return func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	}
}
