package rpcmesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const (
	// headerTimeout bounds how long a connection may take to send its first header.
	headerTimeout = 5 * time.Second
	// maxStreams bounds the concurrent requests of one HTTP/2 connection.
	maxStreams = 1000
)

// Mount lets other nodes link to this one through mux, beside whatever else mux serves. To mount a node
// under a path, mount it on a mux of its own and put that behind [http.StripPrefix]; the path is then
// part of the URL that others link to. The server must speak HTTP/2, with TLS or without. A middleware
// between must not hide the deadlines of [http.ResponseController] (an Unwrap method does). A mux takes one node,
// once; the node itself, as a mux, has it already. Mount panics on a second one, as ServeMux does.
func (n *Node) Mount(mux connecthttp.ServeMux) {
	defer explainPanic("Node.Mount: the mux has a node already, as Node.Handler has: mount each node once, on a mux of its own")
	carrier.Mount(mux, link.MaxPacket, func(ctx context.Context, conn *carrier.ServerConn) { n.linker.acceptLink(ctx, conn) })
}

// Handle adds a handler, by a pattern of [http.ServeMux], to what [Node.Handler] and [Node.Serve] serve
// beside links. It may be called at any time, concurrently too, and panics where ServeMux does: on a
// malformed pattern or one that is there.
func (n *Node) Handle(pattern string, handler http.Handler) {
	defer explainPanic("Node.Handle: it must be given a pattern of http.ServeMux that it has not been given before, and a handler")
	n.server.handlers.Handle(pattern, handler)
}

// explainPanic, deferred, adds to a mux's panic what to do about it.
func explainPanic(what string) {
	if r := recover(); r != nil {
		panic(fmt.Sprintf("rpcmesh: %s (%v)", what, r))
	}
}

// Handler returns a handler with the node mounted on it, and what [Node.Handle] has added.
func (n *Node) Handler() http.Handler { return &n.server.handlers }

// Serve accepts connections on l and serves the node on them, over HTTP/1.1, HTTP/2 and, without
// [Config.TLS], HTTP/2 in cleartext. It blocks until ctx ends or the node is closed, and returns nil
// then: ctx's end cuts off what is under way, and [Node.Shutdown] does not, so ctx should not be one that ends when
// the process is told to stop. Any other end is an error, that l was closed by others too, and so is a node that was closed before, or
// whose secret is too short for an address beyond the host's loopback. It closes l and, at its end, the
// connections that came in by it. [Limits.MaxConns] and [Config.IdleTimeout] bound them.
//
// Requests over HTTP/2 are served by net/http, or, once a gateway was mounted on the node, by a server that is
// like it to handlers, and waits for those when it ends.
func (n *Node) Serve(ctx context.Context, l net.Listener) error {
	if !n.table.addTask(draining) {
		return errors.Join(errClosed(), l.Close())
	}
	defer n.life.tasks.Done()
	if err := n.linker.checkAddress(l.Addr().String()); err != nil {
		return errors.Join(err, l.Close())
	}
	n.life.tasks.Go(func() { n.linker.secrets.Load().stretch() })
	if n.cfg.TLS != nil {
		if err := checkServerTLS(n.cfg.TLS); err != nil {
			return errors.Join(err, l.Close())
		}
		l = h2link.TLSListener(l, h2link.ServerTLS(n.cfg.TLS))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(n.life.ctx, cancel)
	defer stop()
	conns, cut := context.WithCancel(context.WithoutCancel(ctx)) // which may outlive ctx
	defer cut()
	options := h2link.Options{MaxMessage: link.MaxPacket, HTTP2: n.server.serveHTTP2(conns), Admit: n.server.admitConn}
	links := h2link.NewListener(l, options, func(c *h2link.Conn) error {
		stop := context.AfterFunc(ctx, func() { c.Close(errStopped) })
		defer stop()
		n.linker.acceptLink(ctx, carrier.AcceptedConn(c))
		return nil
	})
	server := n.server.httpServer()
	server.ConnState = n.server.countConn(links)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.server.shutDownServer(ctx, links, server)
		cut()
		_ = server.Close() // it reports the listener's own error, which Serve returns
	}()
	err := server.Serve(links)
	asked := ctx.Err() != nil || n.life.shutdown.draining.Err() != nil
	if !asked {
		cancel()
	}
	<-ended
	links.Wait()
	guard.Log(n.log.Logger, err)
	if asked && (errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed)) {
		return nil
	}
	return fmt.Errorf("rpcmesh: the listener failed: %w", err)
}

// serveHTTP2 returns what serves connections that are no links of our own endpoint's: where the node has a gateway, the
// server that offers it requests in one piece, otherwise net/http's.
func (srv *server) serveHTTP2(ctx context.Context) func() func(nc net.Conn, head []byte) {
	buffers := carrier.ServerConfig()
	options := h2serve.Options{
		Handler: srv.countRequests(&srv.handlers), Buffered: srv.handlers.buffers, Drain: srv.life.shutdown.draining,
		MaxStreams: maxStreams, BodyWindow: buffers.MaxReceiveBufferPerStream, ConnWindow: buffers.MaxReceiveBufferPerConnection,
		HandshakeTimeout: headerTimeout, IdleTimeout: srv.cfg.IdleTimeout, Log: srv.log.Logger,
	}
	serve := func(nc net.Conn, head []byte) {
		srv.external.conns.begin()
		defer srv.external.conns.end()
		err := h2serve.Serve(ctx, nc, head, options)
		addr := nc.RemoteAddr().String()
		srv.log.limited.Log(slog.LevelDebug, "connection ended", hostOf(addr), attrAddr(addr), attrError(err))
	}
	return func() func(net.Conn, []byte) {
		if !srv.handlers.hasGateway() {
			return nil
		}
		return serve
	}
}

var errStopped = connect.NewError(connect.CodeUnavailable, "the node has stopped listening")

// httpServer returns the HTTP server for connections that are not links of our own endpoint.
func (srv *server) httpServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           srv.countRequests(http.HandlerFunc(srv.serveHTTP)),
		Protocols:         protocols,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       srv.cfg.IdleTimeout,
		ErrorLog:          slog.NewLogLogger(srv.log.Handler(), slog.LevelDebug),
		HTTP2:             carrier.ServerConfig(),
	}
}

// serveHTTP serves a request of net/http. It logs a handler's panic without its details; net/http then ends the
// request.
func (srv *server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	err := guard.Try("an HTTP handler", func() error {
		srv.handlers.ServeHTTP(w, r)
		return nil
	})
	if err == nil {
		return
	}
	if p, ok := errors.AsType[*guard.PanicError](err); !ok || p.Value != http.ErrAbortHandler.Error() {
		srv.log.limited.Panic(err, "", slog.String("path", r.URL.Path))
	}
	panic(http.ErrAbortHandler)
}

func checkServerTLS(cfg *tls.Config) error {
	if len(cfg.Certificates) > 0 || cfg.GetCertificate != nil || cfg.GetConfigForClient != nil {
		return nil
	}
	return connect.NewError(connect.CodeInvalidArgument, "rpcmesh: Config.TLS has no certificate to serve with: set its Certificates or GetCertificate")
}
