package h2serve_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2serve"
)

// subject is the server of package h2serve.
func subject(l net.Listener, s setup) func() {
	return serveWith(l, s, h2serve.Options{
		Handler: s.handler, MaxStreams: s.maxStreams, Log: slog.New(slogNotes{write: s.log.Writer().Write}),
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

// slogNotes writes of what is logged what net/http's server would.
type slogNotes struct {
	slog.Handler

	write func([]byte) (int, error)
}

func (slogNotes) Enabled(context.Context, slog.Level) bool { return true }

func (n slogNotes) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "panic" {
			_, _ = fmt.Fprintf(writerFunc(n.write), "panic serving 127.0.0.1:1: %s\n", a.Value)
		}
		return true
	})
	return nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
