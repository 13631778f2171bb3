package link

import (
	"crypto/ed25519"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// Config says who this end is and what it allows. The zero value of a field is its default.
type Config struct {
	// Node is this node's id.
	Node NodeID
	// Name is this node's name for people; failures that this node finds carry it.
	Name string
	// Incarnation is later for each start of the same node.
	Incarnation uint64
	// Secret is proven by both ends and never sent.
	Secret []byte
	// OtherSecrets are accepted and, where the peer has none of Secret, proven as well: two ends link if they have one
	// in common. Only with Secret, and MaxSecrets with it.
	OtherSecrets [][]byte
	// AcceptOldProofs accepts peers that know only the first order of proofs, in which the dialler proves
	// itself to whoever answers, by a key that is not stretched. Where there is no secret they always are.
	AcceptOldProofs bool
	// AcceptAnyone says that no secret is wanted. Exactly one of Secret and AcceptAnyone must be set.
	AcceptAnyone bool
	// Key is made at the start of this node. The peer is told its public half, and that this end has the other one.
	// Optional.
	Key ed25519.PrivateKey
	// Features are the names of what this end can do beyond the wire's first version.
	Features []string
	// Limits bound what the peer may make this one hold.
	Limits Limits
	// Budget bounds what the links of the node hold together. Default: nothing does.
	Budget *Budget
	// KeepaliveInterval is how long the link may be silent in either direction before this end asks
	// for a sign of life. Default 1 s.
	KeepaliveInterval time.Duration
	// KeepaliveTimeout is how long nothing may be received before the peer counts as gone. It is found out at most this
	// long after its last sign of life. Default 3 s; at least two intervals.
	KeepaliveTimeout time.Duration
	// HandshakeTimeout bounds Dial and Accept. Default 5 s.
	HandshakeTimeout time.Duration
	// Workers run the handlers of the calls that the peer opens. Required.
	Workers *Workers
}

// Limits bound what a link and its calls may hold. The zero value of a field is its default.
type Limits struct {
	// Window is how many bytes of data this end takes in each call, besides one frame (32 KiB), before
	// the receiver has consumed some. Every data frame counts 16 bytes more than its data. Default
	// 256 KiB.
	Window int
	// MaxMessage is the longest message in bytes that this end sends or receives. Default 4 MiB.
	MaxMessage int
	// MaxCalls is how many calls the peer may have open on the link at once. Default 65536.
	MaxCalls int
	// Memory is how many bytes this end holds for the link's calls: what has come and has not been consumed, and what
	// each call that the peer has open takes besides. A call for which there is no room is refused, or ends, with
	// resource_exhausted. Default 80 MiB. Whatever it is, one call may have its window, and one message, of MaxMessage
	// at most, may be put together.
	Memory int
	// Node is the name of the node whose limits they are, for errors. Default: [Config.Name].
	Node string
	// MaxHeader is how many bytes the headers of a request or response, or the trailers with the error,
	// may take on the wire. Default and most: 64 KiB.
	MaxHeader int
}

const (
	defaultWindow            = 256 << 10
	defaultMaxMessage        = 4 << 20
	defaultMaxCalls          = 65536
	defaultMaxHeader         = 64 << 10
	defaultMemory            = 80 << 20
	defaultNodeMemory        = 256 << 20
	defaultKeepaliveInterval = time.Second
	defaultKeepaliveTimeout  = 3 * time.Second
	defaultHandshakeTimeout  = 5 * time.Second

	maxWindow   = 1 << 30
	maxMaxCalls = 1 << 24
)

// withDefaults returns the limits with their defaults in place.
func (l Limits) withDefaults() Limits {
	l.Window = orDefault(l.Window, defaultWindow)
	l.MaxMessage = orDefault(l.MaxMessage, defaultMaxMessage)
	l.MaxCalls = orDefault(l.MaxCalls, defaultMaxCalls)
	l.MaxHeader = orDefault(l.MaxHeader, defaultMaxHeader)
	l.Memory = orDefault(l.Memory, defaultMemory)
	return l
}

func (l Limits) validate() error {
	switch {
	case l.Window < 1 || l.Window > maxWindow:
		return connect.Errorf(connect.CodeInvalidArgument, "link: window of %d bytes: want 1 to %d", l.Window, maxWindow)
	case l.MaxMessage < 1:
		return connect.Errorf(connect.CodeInvalidArgument, "link: longest message of %d bytes: want 1 or more", l.MaxMessage)
	case l.MaxCalls < 1 || l.MaxCalls > maxMaxCalls:
		return connect.Errorf(connect.CodeInvalidArgument, "link: %d calls at once: want 1 to %d", l.MaxCalls, maxMaxCalls)
	case l.Memory < 1:
		return connect.Errorf(connect.CodeInvalidArgument, "link: memory of %d bytes: want 1 or more", l.Memory)
	case l.MaxHeader < 1 || l.MaxHeader > defaultMaxHeader:
		return connect.Errorf(connect.CodeInvalidArgument, "link: headers of %d bytes: want 1 to %d", l.MaxHeader, defaultMaxHeader)
	}
	return nil
}

// checkMessage says what keeps msg from being sent.
func (l *Limits) checkMessage(msg []byte) error {
	if len(msg) <= l.MaxMessage {
		return nil
	}
	return connect.Errorf(connect.CodeResourceExhausted,
		"a message of %d bytes is longer than node %q sends: set its Limits.MaxMessage of %d higher, and the receiver's, or send less at once",
		len(msg), l.Node, l.MaxMessage)
}

// errTooLong refuses a message that is too long to be received.
func (l *Limits) errTooLong() *connect.Error {
	return connect.Errorf(connect.CodeResourceExhausted,
		"the message is longer than node %q receives: set its Limits.MaxMessage of %d bytes higher, or send less at once", l.Node, l.MaxMessage)
}

// resolve returns the config with its defaults in place, or what is wrong with it.
func (cfg Config) resolve() (Config, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.Limits.Node = orDefault(cfg.Limits.Node, cfg.Name)
	cfg.KeepaliveInterval = orDefault(cfg.KeepaliveInterval, defaultKeepaliveInterval)
	cfg.KeepaliveTimeout = orDefault(cfg.KeepaliveTimeout, defaultKeepaliveTimeout)
	cfg.HandshakeTimeout = orDefault(cfg.HandshakeTimeout, defaultHandshakeTimeout)
	if err := cfg.Limits.validate(); err != nil {
		return cfg, err
	}
	switch {
	case cfg.Workers == nil:
		return cfg, connect.NewError(connect.CodeInvalidArgument, "link: no workers to run handlers")
	case len(cfg.Secret) == 0 && !cfg.AcceptAnyone:
		return cfg, connect.NewError(connect.CodeInvalidArgument, "link: no secret: set one, or say that anyone is accepted")
	case len(cfg.Secret) > 0 && cfg.AcceptAnyone:
		return cfg, connect.NewError(connect.CodeInvalidArgument, "link: both a secret and accepting anyone: set one of them")
	case len(cfg.OtherSecrets) >= MaxSecrets, len(cfg.OtherSecrets) > 0 && cfg.AcceptAnyone:
		return cfg, connect.Errorf(connect.CodeInvalidArgument, "link: more than %d secrets, or some where none is wanted", MaxSecrets)
	case cfg.Key != nil && len(cfg.Key) != ed25519.PrivateKeySize:
		return cfg, connect.NewError(connect.CodeInvalidArgument, "link: this is not an Ed25519 key")
	case cfg.KeepaliveInterval < 0 || cfg.HandshakeTimeout < 0:
		return cfg, connect.NewError(connect.CodeInvalidArgument, "link: a negative time")
	case cfg.KeepaliveTimeout < duration.Times(cfg.KeepaliveInterval, 2):
		return cfg, connect.Errorf(connect.CodeInvalidArgument,
			"link: keepalive timeout %v is less than two intervals of %v", cfg.KeepaliveTimeout, cfg.KeepaliveInterval)
	}
	return cfg, nil
}

// secrets are all that this end accepts, the one that it would rather prove first.
func (cfg *Config) secrets() [][]byte {
	if cfg.AcceptAnyone {
		return nil
	}
	return append([][]byte{cfg.Secret}, cfg.OtherSecrets...)
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
