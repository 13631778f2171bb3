package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
)

const aboutNode = `

Runs a node that a file describes, until it gets SIGTERM or SIGINT: then it says that it is not ready, goes on for
the time of "lame_duck", sends the gateway's callers elsewhere, withdraws its functions, lets running calls end for
the time of "drain", and leaves. A second signal ends the waiting. SIGHUP reads the secrets and the file with tokens
again. GET /readyz, without a token, says whether it is ready, as Kubernetes' readiness probes ask; there,
"lame_duck" should be some 5s, and terminationGracePeriodSeconds longer than both times together.

The file is JSON; each field may be left out. Paths are relative to where the command runs.

  {
    "name": "edge",                          who the node is, across restarts too
    "secret_file": "secret",                 or the environment variable RPCMESH_SECRET; one or more, one a line
    "listen": ["0.0.0.0:8220"],              for links, and for the gateway's callers; or "unix:///run/node.sock"
    "tls": {"cert_file": "cert.pem", "key_file": "key.pem"},
    "namespaces": ["public"],
    "groups": [{"name": "all", "members": ["public", "private"], "bridged": false}],
    "links": [{"url": "https://host:8220", "namespaces": ["public"]}],
    "link_tls": {"ca_file": "ca.pem"},
    "adopt": [{
      "url": "http://127.0.0.1:50051",
      "namespace": "public",
      "protocol": "grpc",                    or grpcweb, or connect
      "policy": "single",                    or round-robin, random, least-pending, nearest
      "descriptors_file": "image.binpb",     default: the server's reflection
      "services": ["pkg.Service"],           default: all
      "header_files": {"Authorization": "token"},
      "no_caller": false,                    or true: the server is not told who calls
      "tls": {"ca_file": "ca.pem"}
    }],
    "gateway": {
      "namespace": "public",                 of calls that name none
      "namespaces": ["private"],             that they may name
      "tokens_file": "tokens.json",          {"tokens": [what rpcmesh token prints]}; or "open": true
      "cors_origins": ["https://app.example.com"],
      "name": "gateway",                     as functions are told that a call came in by it
      "drop_headers": ["Cookie", "X-Forwarded-*"],  of callers that end here; default: those that say who calls
      "name_nodes": false,                   or true: callers are told at which nodes calls fail
      "open_health": false                   or true: probes of health need no token
    },
    "lame_duck": "5s",                       for load balancers to notice; default: none
    "drain": "10s"
  }
`

func runNode(ctx context.Context, args []string, t *terminal) error {
	f := newFlags(t, "node", "-config FILE"+aboutNode)
	path := f.String("config", "", "`file` that describes the node")
	verbose := f.Bool("v", false, "log more")
	if err := f.parse(args, 0, 0); err != nil {
		return err
	}
	if *path == "" {
		return usagef("-config FILE is missing: give the one that describes the node")
	}
	var cfg config
	if err := decodeFile(*path, &cfg); err != nil {
		return err
	}
	cfg.path = *path
	return cfg.run(ctx, t, logger(t, *verbose))
}

func logger(t *terminal, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: level}))
}

const aboutAdopt = `URL

Runs a node that offers the functions of the gRPC or Connect server at URL to a mesh, until it gets SIGTERM or
SIGINT. The functions are there while the server is up, and come back with it. What the server has is read
from its reflection, or from a file as "buf build -o image.binpb" and "protoc --include_imports
--descriptor_set_out" write it.

To join a mesh, the node links to a node of it (-link), or lets nodes link to it (-listen), or both:

  rpcmesh adopt -secret-file secret -namespace public -link http://host:8220 http://127.0.0.1:50051

SIGHUP reads the file with the secret again. To change the secret of a mesh without a failed call, give all
nodes a file with both, the new one first; when they have read it, one with the new one alone.
`

func runAdopt(ctx context.Context, args []string, t *terminal) error {
	var cfg config
	var server adoptConfig
	var links list
	var secret secretFlags
	linkTLS, serverTLS := new(tlsConfig), new(tlsConfig)
	f := newFlags(t, "adopt", aboutAdopt)
	secret.add(f)
	f.StringVar(&cfg.Name, "name", "", "the node's `name`; default: the host's, and a random suffix")
	f.Var((*list)(&cfg.Listen), "listen", "`address` to listen at for other nodes, like 0.0.0.0:8220; may be given again")
	f.Var(&links, "link", "`URL` of a node to link to; may be given again")
	linkTLS.add(f, "link-tls", "an https URL's node")
	f.StringVar(&server.Namespace, "namespace", rpcmesh.DefaultNamespace, "`namespace` to offer the functions in")
	f.StringVar(&server.Protocol, "protocol", "grpc", "what the server speaks: grpc, grpcweb or connect")
	f.StringVar(&server.Policy, "policy", "single", "single, or how calls are spread over several servers: round-robin, random, least-pending, nearest")
	f.StringVar(&server.DescriptorsFile, "descriptors", "", "`file` with the server's descriptor set; default: its reflection is asked")
	f.Var((*list)(&server.Services), "services", "full `names` of the services to adopt, with commas between; default: all")
	f.Var((*headerFiles)(&server.HeaderFiles), "header-file", "`KEY=FILE`: a header for the server, and the file with its value; may be given again")
	serverTLS.add(f, "tls", "an https URL's server")
	verbose := f.Bool("v", false, "log more")
	if err := f.parse(args, 1, 1); err != nil {
		return err
	}
	if len(links) == 0 && len(cfg.Listen) == 0 {
		return usagef("the node would be alone: give -link, -listen or both")
	}
	cfg.SecretFile, cfg.AcceptAnyone = secret.file, secret.anyone
	cfg.LinkTLS = linkTLS
	server.URL, server.TLS = f.Arg(0), serverTLS
	cfg.Adopt = []adoptConfig{server}
	for _, url := range links {
		cfg.Links = append(cfg.Links, linkConfig{URL: url, Namespaces: []string{server.Namespace}})
	}
	return cfg.run(ctx, t, logger(t, *verbose))
}

// headerFiles is a flag that may be given again.
type headerFiles map[string]string

var _ flag.Value = (*headerFiles)(nil)

func (h *headerFiles) String() string { return "" }

func (h *headerFiles) Set(value string) error {
	for i := range len(value) {
		if value[i] == '=' && i > 0 && i+1 < len(value) {
			if *h == nil {
				*h = headerFiles{}
			}
			(*h)[value[:i]] = value[i+1:]
			return nil
		}
	}
	return errors.New("it is KEY=FILE")
}

// defaultDrain is how long calls may run on when a node is told to stop.
const defaultDrain = 10 * time.Second

// running is a node and what was made for it.
type running struct {
	node    *rpcmesh.Node
	log     *slog.Logger
	adopted []*adopt.Server
	reload  func() // the gateway's tokens; nil: it has none
	served  sync.WaitGroup
	failed  chan error // why serving ended
}

// run runs the node until ctx ends.
func (c *config) run(ctx context.Context, t *terminal, log *slog.Logger) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	cfg, err := c.node(t, log)
	if err != nil {
		return err
	}
	node, err := rpcmesh.NewNode(cfg)
	if err != nil {
		return &usageError{err}
	}
	r := &running{node: node, log: log, failed: make(chan error, len(c.Listen))}
	if err := r.setUp(ctx, c); err != nil {
		r.close()
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return r.shutDown(time.Duration(c.LameDuck), time.Duration(c.Drain))
		case err := <-r.failed:
			r.close()
			return err
		case <-hangups:
			r.hangUp(c, t)
		}
	}
}

// hangUp reads again what may be: certificates are, when their files change.
func (r *running) hangUp(c *config, t *terminal) {
	if !c.AcceptAnyone {
		r.reloadSecrets(c, t)
	}
	if r.reload != nil {
		r.reload()
	} else if c.AcceptAnyone {
		r.log.Info("SIGHUP: there are no secrets and no tokens to read again; certificates are read when their files change")
	}
}

// reloadSecrets takes the secrets as they are now.
func (r *running) reloadSecrets(c *config, t *terminal) {
	secrets, err := c.secretsAgain(t)
	if err == nil {
		err = r.node.SetSecrets(secrets...)
	}
	if err != nil {
		r.log.Error("SIGHUP: the secrets stay as they were", "error", err.Error())
		return
	}
	r.log.Info("SIGHUP: secrets read again", "secrets", len(secrets))
}

// setUp makes of the node what c says.
func (r *running) setUp(ctx context.Context, c *config) error {
	r.node.Handle("GET /readyz", r.node.Readiness())
	for i, name := range c.Namespaces {
		if err := r.join(name); err != nil {
			return c.at(err, "namespaces[%d]", i)
		}
	}
	for i, g := range c.Groups {
		var options []rpcmesh.GroupOption
		if g.Bridged {
			options = append(options, rpcmesh.Bridged())
		}
		if _, err := r.node.Group(g.Name, g.Members, options...); err != nil {
			return c.at(&usageError{err}, "groups[%d]", i)
		}
	}
	if err := r.openGateway(c.Gateway); err != nil {
		return c.at(err, "gateway")
	}
	for i := range c.Adopt {
		if err := r.adopt(&c.Adopt[i]); err != nil {
			return c.at(err, "adopt[%d]", i)
		}
	}
	if len(c.Links) == 0 && len(c.Listen) == 0 {
		return usagef("there is neither \"listen\" nor \"links\", and the node would be alone: give one of them")
	}
	for i, address := range c.Listen {
		if err := r.listen(ctx, address); err != nil {
			return c.at(err, "listen[%d]", i)
		}
	}
	for i, l := range c.Links {
		if _, err := r.node.Link(l.URL, l.Namespaces...); err != nil {
			return c.at(&usageError{err}, "links[%d]", i)
		}
	}
	return nil
}

// at says where in the file a mistake is, if there is a file.
func (c *config) at(err error, format string, args ...any) error {
	if c.path == "" {
		return err
	}
	return fmt.Errorf("%s: %s: %w", c.path, fmt.Sprintf(format, args...), err)
}

// join makes the node a member of a namespace.
func (r *running) join(namespace string) error {
	if _, err := r.node.Namespace(namespace).Register(); err != nil { // nothing, which fails for a name that cannot be
		return &usageError{err}
	}
	return nil
}

func (r *running) openGateway(c *gatewayConfig) error {
	if c == nil {
		return nil
	}
	cfg, tokens, err := c.config()
	if err != nil {
		return err
	}
	for _, name := range append([]string{cfg.Namespace}, cfg.Namespaces...) {
		if err := r.join(name); err != nil {
			return err
		}
	}
	if err := gateway.Mount(r.node, cfg); err != nil {
		return &usageError{err}
	}
	if tokens != nil {
		r.reload = func() {
			if err := c.read(tokens); err != nil {
				r.log.Error("the tokens stay as they were", "error", err.Error())
				return
			}
			r.log.Info("tokens read again")
		}
	}
	return nil
}

func (r *running) adopt(c *adoptConfig) error {
	cfg, err := c.config(r.log)
	if err != nil {
		return err
	}
	adopted, err := adopt.New(r.node, c.URL, cfg)
	if err != nil {
		return &usageError{err}
	}
	r.adopted = append(r.adopted, adopted)
	return nil
}

func (r *running) listen(ctx context.Context, address string) error {
	l, err := listen(ctx, address)
	if err != nil {
		return err
	}
	r.log.Info("listening", "addr", l.Addr().String())
	r.served.Go(func() {
		// Serving ends with the node, after it has drained, not with ctx.
		if err := r.node.Serve(context.WithoutCancel(ctx), l); err != nil && connect.CodeOf(err) != connect.CodeFailedPrecondition {
			r.failed <- fmt.Errorf("serving at %s: %w", address, err)
		}
	})
	return nil
}

// shutDown leaves the mesh in order.
func (r *running) shutDown(lameDuck, drain time.Duration) error {
	if drain == 0 {
		drain = defaultDrain
	}
	deadline := time.Now().Add(lameDuck).Add(drain)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	// A second signal ends the waiting.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	r.log.Info("stopping", "lame_duck", lameDuck, "drain", drain)
	err := r.node.Shutdown(ctx)
	r.close()
	if err != nil {
		r.log.Warn("calls were cut off", "error", err.Error())
	}
	return nil
}

// close ends what is left.
func (r *running) close() {
	for _, a := range r.adopted {
		_ = a.Close() // always nil
	}
	_ = r.node.Close() // always nil
	r.served.Wait()
}
