package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	connectcors "connectrpc.com/cors"
	"github.com/rs/cors"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// DefaultName is the default of [Config.Name].
const DefaultName = "gateway"

// DefaultMaxCalls is the default of [Config.MaxCalls].
const DefaultMaxCalls = 4096

const (
	// maxNamespaces bounds [Config.Namespaces].
	maxNamespaces = 256
	// maxName bounds [Config.Name], in bytes.
	maxName = 128
	// maxJSONLimit bounds [Config.MaxJSON].
	maxJSONLimit = 1 << 30
	// defaultCORSAge is how long a browser may go by an answer to its preflight.
	defaultCORSAge = 2 * time.Hour
)

// Config says whom a gateway lets in, and to what. The zero value lets nobody in: [New] fails unless one
// of Authorize, Tokens and Open is set. It is read by New only.
type Config struct {
	// Name is what functions know the gateway by: [rpcmesh.Caller]'s Gateway. At most 128 bytes of printable ASCII. Default:
	// [DefaultName].
	Name string

	// Namespace is that of calls which name none. Default: [rpcmesh.DefaultNamespace].
	Namespace string

	// Namespaces are those that calls may name, besides Namespace; 256 at most. The node is asked for one
	// when it is called: until the node is a member of it, calls fail with not_found.
	Namespaces []string

	// Authorize decides on each call before anything of it is looked up; see [Tokens.Authorize] for one
	// that is ready. A *connect.Error of its own reaches the caller as it is, and so do errors of gRPC and of
	// connect's first version; any other error as unauthenticated, without its text, which goes to the log. It is called concurrently and should be quick.
	Authorize func(ctx context.Context, c Caller) error

	// Tokens admits those whose token is in the set, as [Tokens.Authorize] does. Calls cost less than with
	// Authorize, which might wait. Only without Authorize.
	Tokens *Tokens

	// Open says that anyone who can reach the gateway may call. Only without Authorize and Tokens.
	Open bool

	// PassAuthorization has the header Authorization go along with calls, to the function's origin.
	// Default: it ends at the gateway.
	PassAuthorization bool

	// DropHeaders are headers of callers that end at the gateway, besides all that begin with Rpcmesh-: names, or
	// what names begin with and *, in any case; 256 at most. An empty list that is not nil is none. Default:
	// [DefaultDropHeaders]. Behind a proxy that sets some of them itself, and lets nobody else's through, leave those
	// out.
	DropHeaders []string

	// NameNodes says that callers are told by which nodes, links and addresses a call has failed. Default: of
	// what the mesh says itself they are told the code, whether the call may have been begun, and a text that names
	// nothing they did not name; what functions say arrives as it was said.
	NameNodes bool

	// MaxMessage bounds the messages that callers may send, in bytes as they send them, uncompressed; a
	// longer one ends its call with resource_exhausted. Default: [rpcmesh.Limits.MaxMessage] of the node.
	MaxMessage int

	// MaxJSON bounds the messages of responses in JSON, in bytes, which can be many times as long as what they
	// spell; a longer one ends its call with resource_exhausted. All messages that are being turned into JSON or back
	// at once may take 16 times as much memory; who comes too many waits. Default: four times
	// [rpcmesh.Limits.MaxMessage] of the node.
	MaxJSON int

	// NoReflection says that the gateway does not tell callers which functions a namespace has and what
	// their messages are. Default: whoever may call grpc.reflection.v1.ServerReflection or its v1alpha in a
	// namespace is told by gRPC's server reflection.
	NoReflection bool

	// NoHealth says that the gateway does not serve grpc.health.v1.Health. Default: whoever may call it in
	// a namespace is told which services can be called there.
	NoHealth bool

	// OpenHealth lets anyone who can reach the gateway call Check and Watch of grpc.health.v1.Health, as the probes
	// of orchestrators do, which have no token. They learn whether a service that they name can be called. Default:
	// health is for those who may call.
	OpenHealth bool

	// Logger is told why Authorize did not admit a call, where the caller is not. Default: [slog.Default] as it is
	// then, from warnings up. Tokens are never logged.
	Logger *slog.Logger

	// CORS lets web pages of other origins call. Default: none may.
	CORS *CORS

	// MaxCalls bounds how many calls may be under way at once; one more fails with resource_exhausted.
	// Default: 4096.
	MaxCalls int

	// MaxCallsPerCaller bounds how many of them one caller may have: whoever has a token, and where there is none
	// an IP address, of IPv6 a network of 64 bits. One more fails with resource_exhausted. Who comes through a proxy
	// has its address. Default: half of MaxCalls.
	MaxCallsPerCaller int
}

// CORS says which web pages may call, by the protocol of browsers
// (https://fetch.spec.whatwg.org/#http-cors-protocol). Cookies are never among what they may send.
type CORS struct {
	// Origins are those of the pages, like "https://app.example.com", each with one * at most; "*" alone
	// stands for all. At least one.
	Origins []string
	// RequestHeaders are headers that the pages may send, besides those of the protocols, Authorization
	// and Rpcmesh-Namespace.
	RequestHeaders []string
	// ResponseHeaders are headers that the pages may see, besides those of the protocols. Trailers of
	// unary Connect calls are headers too, with "Trailer-" before their names.
	ResponseHeaders []string
	// MaxAge is how long browsers may go by what they were told. Default: 2 h; negative: not at all.
	MaxAge time.Duration
}

// withDefaults checks cfg and returns a copy with its defaults filled in.
func withDefaults(cfg Config) (Config, error) {
	switch {
	case cfg.Authorize == nil && cfg.Tokens == nil && !cfg.Open:
		return cfg, connect.NewError(connect.CodeInvalidArgument,
			"gateway: Config does not say who may call: set Tokens or Authorize, or Open to let anyone")
	case cfg.Authorize != nil && cfg.Tokens != nil:
		return cfg, connect.NewError(connect.CodeInvalidArgument,
			"gateway: Config.Tokens stands beside Config.Authorize: set one of them")
	case cfg.Open && (cfg.Authorize != nil || cfg.Tokens != nil):
		return cfg, connect.NewError(connect.CodeInvalidArgument,
			"gateway: Config.Open contradicts Config.Authorize and Config.Tokens: set one of them")
	case len(cfg.Name) > maxName || strings.ContainsFunc(cfg.Name, func(r rune) bool { return r < ' ' || r > '~' }):
		return cfg, connect.Errorf(connect.CodeInvalidArgument, "gateway: Config.Name must be printable ASCII of at most %d bytes", maxName)
	case cfg.CORS != nil && (len(cfg.CORS.Origins) == 0 || slices.Contains(cfg.CORS.Origins, "")):
		return cfg, connect.NewError(connect.CodeInvalidArgument,
			`gateway: Config.CORS.Origins must be given, none of them empty: one looks like "https://app.example.com"`)
	}
	if cfg.Name == "" {
		cfg.Name = DefaultName
	}
	if cfg.DropHeaders == nil {
		cfg.DropHeaders = DefaultDropHeaders()
	}
	if cfg.Namespace == "" {
		cfg.Namespace = rpcmesh.DefaultNamespace
	}
	if err := cfg.checkNamespaces(); err != nil {
		return cfg, err
	}
	if err := cfg.checkBounds(); err != nil {
		return cfg, err
	}
	if cfg.MaxCalls == 0 {
		cfg.MaxCalls = DefaultMaxCalls
	}
	if cfg.MaxCallsPerCaller == 0 {
		cfg.MaxCallsPerCaller = max(1, cfg.MaxCalls/2)
	}
	return cfg, nil
}

func (cfg *Config) checkNamespaces() error {
	if err := rpcmesh.CheckNamespace(cfg.Namespace); err != nil {
		return errorInField("gateway: Config.Namespace", err)
	}
	if n := len(cfg.Namespaces); n > maxNamespaces {
		return connect.Errorf(connect.CodeInvalidArgument, "gateway: Config.Namespaces may have %d entries at most, and has %d", maxNamespaces, n)
	}
	for i, name := range cfg.Namespaces {
		if err := rpcmesh.CheckNamespace(name); err != nil {
			return errorInField(fmt.Sprintf("gateway: Config.Namespaces[%d]", i), err)
		}
	}
	return nil
}

// errorInField adds to err the field that holds the namespace in question.
func errorInField(field string, err error) error {
	text := err.Error()
	if e, ok := errors.AsType[*connect.Error](err); ok {
		text = strings.TrimPrefix(e.Message(), "rpcmesh: ")
	}
	return connect.NewError(connect.CodeInvalidArgument, field+": "+text)
}

func (cfg *Config) checkBounds() error {
	for _, n := range []struct {
		field string
		value int
		most  int
	}{
		{"MaxMessage", cfg.MaxMessage, math.MaxInt},
		{"MaxJSON", cfg.MaxJSON, maxJSONLimit},
		{"MaxCalls", cfg.MaxCalls, math.MaxInt},
		{"MaxCallsPerCaller", cfg.MaxCallsPerCaller, math.MaxInt},
	} {
		if n.value < 0 {
			return connect.Errorf(connect.CodeInvalidArgument, "gateway: Config.%s must not be negative, and is %d", n.field, n.value)
		}
		if n.value > n.most {
			return connect.Errorf(connect.CodeInvalidArgument, "gateway: Config.%s must be %d at most, and is %d", n.field, n.most, n.value)
		}
	}
	return nil
}

// handler returns next, behind a handler of CORS's preflights.
func (c *CORS) handler(next http.Handler) http.Handler {
	if c == nil {
		return next
	}
	age := c.MaxAge
	switch {
	case age == 0:
		age = defaultCORSAge
	case age < 0:
		age = -time.Second
	}
	return cors.New(cors.Options{
		AllowedOrigins: slices.Clone(c.Origins),
		AllowedMethods: connectcors.AllowedMethods(),
		AllowedHeaders: slices.Concat(connectcors.AllowedHeaders(), []string{"Authorization", namespaceHeader}, c.RequestHeaders),
		ExposedHeaders: slices.Concat(connectcors.ExposedHeaders(), c.ResponseHeaders),
		MaxAge:         int(age / time.Second),
	}).Handler(next)
}
