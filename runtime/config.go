package rpcmesh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
)

// Defaults of [Config] and [Limits].
const (
	DefaultCallTimeout = 10 * time.Second
	DefaultKeepalive   = 3 * time.Second
	DefaultMaxMessage  = 4 << 20
	DefaultWindow      = 256 << 10
	DefaultMaxCalls    = 1 << 16
	DefaultLinkMemory  = 80 << 20
	DefaultNodeMemory  = 256 << 20
	DefaultMaxConns    = 8192
	DefaultIdleTimeout = 2 * time.Minute
	DefaultRedialMin   = 100 * time.Millisecond
	DefaultRedialMax   = 10 * time.Second
)

const (
	maxNameBytes    = 128
	maxAddresses    = 16
	maxAddressBytes = 256
	maxMetadata     = 32
	maxMetadataSize = 4 << 10
	maxMessageLimit = 1 << 30
	minWindow       = 64
	maxWindow       = 1 << 30
)

// Config says what a node is. The zero value of a field means its documented default. A Config is
// read by [NewNode] only; later changes to it have no effect. A function in it that panics has refused what
// it was asked; the log has the rest.
type Config struct {
	// Name is for people, and the node's identity: two living nodes of one mesh must not share a
	// name. Those that have a link with the first refuse the second. At most 128 bytes of printable text. Default: the host's name and a random suffix, with
	// an id that is new at each start.
	Name string

	// Secret is what nodes of one mesh share. Both ends of every link prove that they have it; it is
	// never sent. Required unless Secrets, Authenticate or AcceptAnyone is set. Who meets a node can guess at
	// its secret, at the cost of some 0.1 s a guess, so it takes 16 bytes or more that nobody can guess (say
	// of "openssl rand -hex 16"); a shorter one does for links over the loopback and within the process only.
	Secret string

	// Secrets stands for Secret where there are several, as while a mesh changes from one to another: two
	// nodes link if they have one in common. The first is preferred, and the one that nodes of older
	// releases are shown; all are accepted. At most 8. [Node.SetSecrets] replaces them.
	Secrets []string

	// AcceptOldProofs links also with nodes of releases before the listening end proved the secret first: set it
	// while a mesh is being updated from such a release, and not longer. To such a node, or to whoever answers in
	// its place and says that it is one, a dialling node gives a proof that can be guessed at hundreds of thousands
	// of times a second, which is safe only if the secret is random. The first such link is logged, as a warning.
	// Default: they are refused, with failed_precondition.
	AcceptOldProofs bool

	// Authenticate decides on the other end of each link, besides the secret or instead of it, say by
	// its TLS certificate. An error refuses the link; its text goes to the log, not to the other end.
	// It may be called concurrently, and should return within a few seconds.
	Authenticate func(ctx context.Context, peer Peer) error

	// AcceptAnyone says that this node links with anyone who can reach it. Only without a secret and
	// Authenticate, where leaving it unset is an error.
	AcceptAnyone bool

	// Logger gets lifecycle events: links up, lost and refused, nodes joining and leaving; and the errors of
	// handlers that callers are not told. Default: [slog.Default] as it is when the node is made, from warnings
	// up; for silence, a logger of [slog.DiscardHandler]. Secrets, headers and payloads are never logged.
	Logger *slog.Logger

	// Interceptors wrap every origin of this node, the first outermost.
	Interceptors []connect.ServerInterceptor

	// TLS makes [Node.Serve] serve TLS with this configuration. Default: cleartext.
	TLS *tls.Config

	// DialTLS is what links to https URLs are dialled with. Default: the host's root certificates.
	DialTLS *tls.Config

	// Dial makes the connections of this node's links, say through a tunnel: network is
	// "tcp", or "unix" for a URL like unix:///PATH. Default: by package net.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Addresses are told to the other members, for people and tools: where this node listens. At
	// most 16, of 256 bytes each.
	Addresses []string

	// Metadata is told to the other members. At most 32 entries and 4 KiB in all.
	Metadata map[string]string

	// Limits bound what a single call or link may take.
	Limits Limits

	// CallTimeout is the deadline of a unary call whose context has none. Default: 10 s; negative:
	// none. Streams without a deadline have none.
	CallTimeout time.Duration

	// Keepalive is the time within which a link is given up whose other end has fallen silent.
	// Default: 3 s; at least 100 ms.
	Keepalive time.Duration

	// LameDuck is how long [Node.Shutdown] goes on as before once it has said that the node is not ready, so that
	// load balancers can notice before connections end. Default: 0. Behind a Service of Kubernetes it should be as
	// long as an endpoint that is not ready may still be sent connections, say 5 s, and the Pod's
	// terminationGracePeriodSeconds longer than it and the time for draining together.
	LameDuck time.Duration

	// IdleTimeout is how long a connection that [Node.Serve] has accepted may stay without a request or a
	// link. Default: 2 min; negative: for ever. The first request or link must begin within 5 s.
	IdleTimeout time.Duration

	// RedialMin and RedialMax bound the pause before a lost link is dialled again; it doubles from the
	// one to the other, each time shortened by a random part of up to half, and begins anew once the link was up
	// and tables were exchanged. A link is dialled ahead of that, a host's once a second on average, where a call
	// lacks its function, another link has come back, or (without Dial) the host's addresses have changed.
	// Defaults: 100 ms and 10 s.
	RedialMin, RedialMax time.Duration
}

// Limits bound what a single call or link may take of this node. Both ends of a link apply their own.
type Limits struct {
	// MaxMessage is the longest message that this node's origins and callers receive, in bytes of its
	// encoding; a longer one ends its call with resource_exhausted. Default: 4 MiB; at most 1 GiB.
	MaxMessage int

	// Window is how many bytes each direction of each call may have under way on each link before the
	// receiving end has consumed them. Default: 256 KiB; between 64 bytes and 1 GiB. One more piece of
	// a message, 32 KiB at most, may exceed it.
	Window int

	// MaxCalls is how many calls the other end of a link may have open on it at once, and how many handlers
	// may run for calls that the node makes of its own functions; one more ends with resource_exhausted.
	// Default: 65,536.
	MaxCalls int

	// LinkMemory is how many bytes the node holds for the calls of one link: what has come by it and has not
	// been consumed or passed on, 8 KiB for each call that is served and 1 KiB for each that is relayed.
	// Where there is no room for a call it is refused with resource_exhausted and has not started. Data that
	// does not fit although the call's window allows it ends the call with resource_exhausted; as no call may
	// hold more than is then left to the others, that meets the calls that hold most. Messages longer than
	// the window get half of the memory, and wait for it for up to 10 s. Default: 80 MiB. Whatever it is, one
	// call at a time goes on: it may hold its window and put one message together.
	LinkMemory int

	// NodeMemory bounds likewise what the node holds for the calls of all its links, each of which may hold
	// half of what is then left to the others; besides, each may hold the window of one call, and one call of
	// the node may put a message together. Default: 256 MiB, which leaves a process of 1 GiB room for
	// the garbage collector and itself.
	NodeMemory int

	// MaxConns is how many connections the node accepts at once with [Node.Serve], and MaxConnsPerHost how
	// many of one host's, which is an IPv4 address or a /64 of IPv6. One more is closed. Defaults: 8,192, and
	// half of MaxConns; mind proxies, behind which all hosts are one.
	MaxConns, MaxConnsPerHost int
}

// printable reports whether s is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// defaultName names a node that was given no name: where it runs, and a suffix to tell it apart.
func defaultName() string {
	host, err := os.Hostname()
	if err != nil || host == "" || len(host) > maxNameBytes-8 || !printable(host) {
		host = "node"
	}
	return host + "-" + strings.ToLower(rand.Text()[:6])
}
