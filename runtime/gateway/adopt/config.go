package adopt

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http/httpguts"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
)

// Defaults of [Config] and [Limits].
const (
	DefaultProbeInterval   = 5 * time.Second
	DefaultProbeTimeout    = 5 * time.Second
	DefaultRetryMin        = 100 * time.Millisecond
	DefaultRetryMax        = 10 * time.Second
	DefaultMaxMessage      = 4 << 20
	DefaultMaxCalls        = 4096
	DefaultMaxServices     = 256
	DefaultMaxFiles        = 2048
	DefaultMaxDescriptors  = 4 << 20
	maxDescriptorsLimit    = 64 << 20
	maxResponseHeaderBytes = 64 << 10
)

// Protocol is what an adopted server speaks.
type Protocol uint8

// The protocols.
const (
	// GRPC needs HTTP/2: over TLS for https, in cleartext with prior knowledge for http.
	GRPC Protocol = iota
	// GRPCWeb and Connect take HTTP/2 where the server has it, and HTTP/1.1 where not. Over HTTP/1.1
	// there are no bidirectional streams, and so no reflection: give Descriptors.
	GRPCWeb
	Connect
)

// String returns the protocol's name: grpc, grpcweb or connect.
func (p Protocol) String() string {
	switch p {
	case GRPC:
		return connect.ProtocolNameGRPC
	case GRPCWeb:
		return connect.ProtocolNameGRPCWeb
	case Connect:
		return connect.ProtocolNameConnect
	}
	return "unknown"
}

// ParseProtocol returns the protocol of that name, as String gives it, and invalid_argument where there is
// none.
func ParseProtocol(name string) (Protocol, error) {
	for p := GRPC; p <= Connect; p++ {
		if p.String() == name {
			return p, nil
		}
	}
	return 0, connect.Errorf(connect.CodeInvalidArgument, "adopt: there is no protocol %.40q: use %v, %v or %v", name, GRPC, GRPCWeb, Connect)
}

// Config says how a server is adopted. The zero value of a field means its default. A Config is read by
// [New] only; later changes to it have no effect.
type Config struct {
	// Namespace is where the functions are registered: a namespace or a group of the node's. Default:
	// [rpcmesh.DefaultNamespace].
	Namespace string

	// Policy registers the functions as replicated, so that several nodes may adopt servers that have
	// the same ones. Default: [rpcmesh.PolicySingle], one origin a function.
	Policy rpcmesh.Policy

	// Protocol is what the server speaks. Default: [GRPC].
	Protocol Protocol

	// Descriptors is an encoded google.protobuf.FileDescriptorSet that has the server's services and
	// everything they import. Default: the server's reflection is asked.
	Descriptors []byte

	// Services are the full names of the services to adopt. Default: all that the server's reflection
	// lists, or that Descriptors has.
	Services []string

	// Header is sent to the server with every request, in place of what a caller sent by the same keys:
	// a token of the node's own, say.
	Header http.Header

	// NoCaller says that the server is not told who calls, by which names inside the mesh reach it. Default: it is, see
	// the package's documentation.
	NoCaller bool

	// TLS is what an https URL is dialled with. Default: the host's root certificates.
	TLS *tls.Config

	// Dial makes the connections. Default: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Logger is told when the server comes and goes and what is wrong with it. Default: [slog.Default] as it is
	// then, from warnings up.
	Logger *slog.Logger

	// Limits bound what the server and its callers may take.
	Limits Limits

	// ProbeInterval is how often the server is asked whether it is well; ProbeTimeout how long it may take
	// to answer, to be connected to, and to give its schema. Defaults: 5 s each.
	ProbeInterval, ProbeTimeout time.Duration

	// RetryMin and RetryMax bound the pause before a server that is down is tried again; it doubles from
	// the one to the other, each time shortened by a random part of up to half. Defaults: 100 ms and 10 s.
	RetryMin, RetryMax time.Duration
}

// Limits bound what an adopted server and its callers may take.
type Limits struct {
	// MaxMessage is the longest response message that is taken from the server, in bytes; a longer one ends
	// its call with resource_exhausted. Default: 4 MiB. The node's own limit holds besides.
	MaxMessage int
	// MaxCalls is how many calls may be with the server at once; one more ends with resource_exhausted.
	// Default: 4,096.
	MaxCalls int
	// MaxServices is how many services may be adopted. Default: 256.
	MaxServices int
	// MaxFiles is how many files the schema may have, those that are imported included. Default: 2,048.
	MaxFiles int
	// MaxDescriptors is how many bytes those files may have, encoded. Default: 4 MiB; at most 64 MiB.
	MaxDescriptors int
}

func resolved(cfg Config) (Config, error) {
	cfg.Header = cfg.Header.Clone()
	cfg.Services = slices.Clone(cfg.Services)
	cfg.Descriptors = slices.Clone(cfg.Descriptors)
	cfg.Logger = guard.Logger(cfg.Logger)
	cfg.TLS = guard.TLS(cfg.Logger, "adopt: Config.TLS", cfg.TLS)
	cfg.Dial = guard.Dial(cfg.Logger, "adopt: Config.Dial", cfg.Dial)
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Protocol > Connect {
		return cfg, connect.Errorf(connect.CodeInvalidArgument, "adopt: Config.Protocol must be GRPC, GRPCWeb or Connect, and is %d", cfg.Protocol)
	}
	for key, values := range cfg.Header {
		if !httpguts.ValidHeaderFieldName(key) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			return cfg, connect.Errorf(connect.CodeInvalidArgument, "adopt: Config.Header must have keys and values that HTTP allows: those of %.100q are not", key)
		}
	}
	if err := cfg.Limits.resolve(); err != nil {
		return cfg, err
	}
	err := cfg.resolveTimes()
	return cfg, err
}

func (cfg *Config) resolveTimes() error {
	for _, t := range []struct {
		field string
		value *time.Duration
		def   time.Duration
	}{
		{"ProbeInterval", &cfg.ProbeInterval, DefaultProbeInterval},
		{"ProbeTimeout", &cfg.ProbeTimeout, DefaultProbeTimeout},
		{"RetryMin", &cfg.RetryMin, DefaultRetryMin},
		{"RetryMax", &cfg.RetryMax, max(DefaultRetryMax, cfg.RetryMin)},
	} {
		if *t.value == 0 {
			*t.value = t.def
		}
		if *t.value < time.Millisecond {
			return connect.Errorf(connect.CodeInvalidArgument, "adopt: Config.%s must be 1 ms or more, and is %v", t.field, *t.value)
		}
	}
	if cfg.RetryMax < cfg.RetryMin {
		return connect.Errorf(connect.CodeInvalidArgument,
			"adopt: Config.RetryMax must be no less than Config.RetryMin, which is %v, and is %v", cfg.RetryMin, cfg.RetryMax)
	}
	return nil
}

func (l *Limits) resolve() error {
	for _, n := range []struct {
		field    string
		value    *int
		def, max int
	}{
		{"MaxMessage", &l.MaxMessage, DefaultMaxMessage, 1 << 30},
		{"MaxCalls", &l.MaxCalls, DefaultMaxCalls, 1 << 20},
		{"MaxServices", &l.MaxServices, DefaultMaxServices, 1 << 16},
		{"MaxFiles", &l.MaxFiles, DefaultMaxFiles, 1 << 20},
		{"MaxDescriptors", &l.MaxDescriptors, DefaultMaxDescriptors, maxDescriptorsLimit},
	} {
		if *n.value == 0 {
			*n.value = n.def
		}
		if *n.value < 1 || *n.value > n.max {
			return connect.Errorf(connect.CodeInvalidArgument, "adopt: Limits.%s must be between 1 and %d, and is %d", n.field, n.max, *n.value)
		}
	}
	return nil
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Opaque != "":
		return nil, connect.NewError(connect.CodeInvalidArgument,
			"adopt: this is not the URL of a server: one looks like http://host:50051 or https://host/path")
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, connect.NewError(connect.CodeInvalidArgument,
			"adopt: the URL of a server has no query, fragment or user: give credentials by Config.Header")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}
