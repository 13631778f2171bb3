package rpcmesh

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect/v2/connecthttp"

	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// headerTimeout bounds how long a connection may take to say what it wants.
const headerTimeout = 5 * time.Second

// Mount lets other nodes link to this one through mux, beside whatever else mux serves. To mount a node
// under a path, mount it on a mux of its own and put that behind [http.StripPrefix]; the path is then
// part of the URL that others link to. The server must speak HTTP/2, with TLS or without.
func (n *Node) Mount(mux connecthttp.ServeMux) {
	carrier.Mount(mux, link.MaxPacket, n.accept)
}

// Handler returns a handler with nothing but the node mounted on it.
func (n *Node) Handler() http.Handler {
	mux := http.NewServeMux()
	n.Mount(mux)
	return mux
}

// Serve accepts connections on l and serves the node on them, over HTTP/1.1, HTTP/2 and, without
// [Config.TLS], HTTP/2 in cleartext. It blocks until ctx ends or the node is closed, and returns nil
// then; any other end is an error. It closes l and, at its end, the connections that came in by it.
func (n *Node) Serve(ctx context.Context, l net.Listener) error {
	n.mu.Lock()
	if n.phase == closed {
		n.mu.Unlock()
		return errors.Join(errClosed(), l.Close())
	}
	n.tasks.Add(1)
	n.mu.Unlock()
	defer n.tasks.Done()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           n.Handler(),
		Protocols:         protocols,
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		HTTP2:             carrier.ServerConfig(),
	}
	if n.cfg.TLS != nil {
		server.TLSConfig = n.cfg.TLS.Clone()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(n.ctx, cancel) //nolint:contextcheck // the node's life ends serving too
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		_ = server.Close() // it reports the listener's own error, which Serve returns
	}()
	err := serveOn(server, l)
	cancel()
	<-ended
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func serveOn(server *http.Server, l net.Listener) error {
	if server.TLSConfig == nil {
		return server.Serve(l)
	}
	if len(server.TLSConfig.Certificates) == 0 && server.TLSConfig.GetCertificate == nil &&
		server.TLSConfig.GetConfigForClient == nil {
		return errors.Join(errors.New("rpcmesh: Config.TLS has no certificate"), l.Close())
	}
	server.TLSConfig.MinVersion = max(server.TLSConfig.MinVersion, tls.VersionTLS12)
	return server.ServeTLS(l, "", "")
}
