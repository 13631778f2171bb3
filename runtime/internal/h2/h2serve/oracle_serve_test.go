package h2serve_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/certtest"
)

// server is what a scenario is run against. It serves connections of l until it is stopped, which waits
// for all it started but handlers.
type server func(l net.Listener, s setup) (stop func())

type setup struct {
	handler    http.Handler
	maxStreams int
	base       context.Context
	log        *slog.Logger
	tls        *tls.Config
}

// oracle is net/http's server.
func oracle(l net.Listener, s setup) func() {
	p := new(http.Protocols)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler: s.handler, Protocols: p, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelError), ReadHeaderTimeout: 10 * time.Second,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: s.maxStreams},
		BaseContext: func(net.Listener) context.Context { return s.base },
		TLSConfig:   s.tls,
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if s.tls != nil {
			_ = srv.ServeTLS(l, "", "")
			return
		}
		_ = srv.Serve(l)
	})
	return func() {
		_ = srv.Close()
		wg.Wait()
	}
}

var testCert = sync.OnceValues(certtest.New)

func serverTLS() *tls.Config {
	cert, _ := testCert()
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
}

func clientTLS() *tls.Config {
	_, pool := testCert()
	return &tls.Config{RootCAs: pool, ServerName: "node.test"}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
