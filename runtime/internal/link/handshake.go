package link

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"slices"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

const (
	wireVersion = 1
	nonceSize   = 32
	// maxHello bounds what an end that has proven nothing can make this one read.
	maxHello    = 4 << 10
	maxFeatures = 64
	maxJoin     = 256 << 10
)

// Dial starts a session on a connection that this end dialled. ask says who this node is and what it
// wants the link to carry; the limits in it are filled in. It returns within the handshake timeout. If
// it fails, the connection is closed; the error is a *connect.Error: unauthenticated where the proof
// was wrong, failed_precondition for a link to itself, already_exists where the other end is another
// start of this very node.
func Dial(ctx context.Context, c Conn, cfg Config, ask *linkv1.Join) (*Session, error) {
	return runHandshake(ctx, c, cfg, func(h *handshake) error { return h.dial(ask) })
}

// Accept starts a session on a connection that the other end dialled, likewise. answer is called once
// the other end has proven the secret; what it returns says who this node is and what the link will
// carry, an error refuses the link (a *connect.Error is told to the other end).
func Accept(ctx context.Context, c Conn, cfg Config, answer func(peer Peer) (*linkv1.Join, error)) (*Session, error) {
	return runHandshake(ctx, c, cfg, func(h *handshake) error { return h.accept(answer) })
}

// runHandshake runs a handshake within its time.
func runHandshake(ctx context.Context, c Conn, cfg Config, shake func(*handshake) error) (*Session, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		c.Close(err)
		return nil, err
	}
	for _, secret := range cfg.secrets() {
		StretchSecret(secret)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.HandshakeTimeout)
	defer cancel()
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.Close(errHandshakeTimeout)
		close(late)
	})
	limitPackets(c, maxHello) // until the other end has proven something
	h := &handshake{conn: c, cfg: cfg}
	err = shake(h)
	if !stop() {
		<-late
		err = handshakeTimeoutError(ctx, err)
	}
	if err != nil {
		err := asConnectError(err)
		c.Close(err)
		return nil, err
	}
	cfg.Secret, cfg.OtherSecrets, cfg.Key = nil, nil, nil
	return newSession(c, cfg, h.dialler, h.peer), nil
}

var errHandshakeTimeout = connect.NewError(connect.CodeDeadlineExceeded,
	"link: the handshake took too long: the other end is overloaded, or a proxy between holds back what it is to pass on "+
		"(nginx: use grpc_pass)")

// handshakeTimeoutError is the error of a handshake that the end of its context cut short.
func handshakeTimeoutError(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errHandshakeTimeout.WithCause(ctx.Err()).WithCause(err)
	}
	return connect.NewError(connect.CodeCanceled, "link: the handshake was given up").WithCause(ctx.Err())
}

func asConnectError(err error) *connect.Error {
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return ce
	}
	return connect.NewError(connect.CodeUnavailable, "link: the connection failed: "+err.Error()).WithCause(err)
}

// handshake is a session before it has started.
type handshake struct {
	conn    Conn
	cfg     Config
	dialler bool
	peer    Peer

	nonce               [nonceSize]byte
	ownHello, peerHello []byte // the Hellos as they were sent
	binding             []byte
	// listenerFirst is the second order of proofs, which both ends know.
	listenerFirst bool
	listenerProof []byte // the listener's Proof as it was sent
	chosen        int    // which secret proves
}

func (h *handshake) dial(ask *linkv1.Join) error {
	h.dialler = true
	if err := h.sendHello(); err != nil {
		return h.connError(err)
	}
	if err := h.receiveHello(); err != nil {
		return err
	}
	if err := h.dialProofs(); err != nil {
		return err
	}
	if err := h.checkSelf(); err != nil {
		return err
	}
	join, err := h.encodeJoin(ask)
	if err != nil {
		return err
	}
	if err := h.send(controlJoin, join); err != nil {
		return h.joinError(err)
	}
	return h.receiveJoin()
}

// connError returns why nobody listens to the first that is said, where the connection can tell.
func (h *handshake) connError(err error) error {
	_, told := h.conn.Receive()
	if e, ok := errors.AsType[*connect.Error](told); ok {
		return e
	}
	return err
}

// joinError returns why the listener no longer listens, where it has said so, instead of what the sending ended with.
func (h *handshake) joinError(err error) error {
	if told, ok := errors.AsType[*connect.Error](h.receiveJoin()); ok && told.IsRemote() {
		return told
	}
	return err
}

func (h *handshake) accept(answer func(Peer) (*linkv1.Join, error)) error {
	if err := h.receiveHello(); err != nil {
		return err
	}
	if err := h.sendHello(); err != nil {
		return err
	}
	if err := h.acceptProofs(); err != nil {
		return err
	}
	if err := h.checkSelf(); err != nil {
		return err
	}
	if err := h.receiveJoin(); err != nil {
		return err
	}
	answered, err := answer(h.peer)
	if err != nil {
		return err
	}
	join, err := h.encodeJoin(answered)
	if err != nil {
		return err
	}
	return h.send(controlJoin, join)
}

// checkSelf refuses a link to another end by this node's own id.
func (h *handshake) checkSelf() error {
	switch {
	case h.peer.Node != h.cfg.Node:
		return nil
	case h.peer.Incarnation == h.cfg.Incarnation:
		return connect.NewError(connect.CodeFailedPrecondition,
			"link: a link to itself: the URL leads back to this very node; give it the one of another")
	default:
		return connect.Errorf(connect.CodeAlreadyExists,
			"link: two nodes have the id %v, that of the name %q: give each node a Config.Name of its own", h.cfg.Node, h.cfg.Name)
	}
}

func (h *handshake) sendHello() error {
	if _, err := rand.Read(h.nonce[:]); err != nil {
		return err
	}
	hello, err := proto.Marshal(&linkv1.Hello{
		Version:     wireVersion,
		Features:    append([]string{featureListenerFirst}, h.cfg.Features...),
		Node:        h.cfg.Node[:],
		Incarnation: h.cfg.Incarnation,
		Nonce:       h.nonce[:],
		Key:         publicKey(h.cfg.Key),
	})
	if err != nil {
		return err
	}
	h.ownHello = hello
	return h.send(controlHello, hello)
}

func (h *handshake) receiveHello() error {
	raw, err := h.receive(controlHello, maxHello)
	if err != nil {
		return err
	}
	hello := new(linkv1.Hello)
	if err := proto.Unmarshal(raw, hello); err != nil {
		return errHandshake
	}
	switch {
	case hello.GetVersion() != wireVersion:
		return connect.Errorf(connect.CodeFailedPrecondition,
			"link: one end speaks version %d of the wire, the other version %d: update the one of the older release",
			wireVersion, hello.GetVersion())
	case len(hello.GetNode()) != len(NodeID{}), len(hello.GetNonce()) != nonceSize, len(hello.GetFeatures()) > maxFeatures:
		return errHandshake
	case len(hello.GetKey()) != 0 && len(hello.GetKey()) != ed25519.PublicKeySize:
		return errHandshake
	case h.ownHello != nil && hmac.Equal(hello.GetNonce(), h.nonce[:]):
		return connect.NewError(connect.CodeUnauthenticated, "link: the other end repeats what this one says")
	}
	h.peerHello = bytes.Clone(raw)
	h.peer = Peer{
		Node: NodeID(hello.GetNode()), Incarnation: hello.GetIncarnation(),
	}
	h.setFeatures(hello.GetFeatures())
	if len(hello.GetKey()) > 0 {
		h.peer.Key = hello.GetKey()
	}
	if !h.cfg.AcceptAnyone { // else the channel may well end in between, as at a proxy that ends TLS
		h.binding, err = h.conn.Binding()
	}
	return err
}

// setFeatures finds out which order of proofs both ends know. The other features are the session's.
func (h *handshake) setFeatures(features []string) {
	h.listenerFirst = slices.Contains(features, featureListenerFirst)
	h.peer.OldProofs = !h.listenerFirst
	h.peer.Features = slices.DeleteFunc(slices.Clone(features), func(f string) bool { return f == featureListenerFirst })
}

// encodeJoin returns the introduction, with this end's limits in it.
func (h *handshake) encodeJoin(join *linkv1.Join) ([]byte, error) {
	if join == nil {
		join = new(linkv1.Join)
	} else {
		join = proto.CloneOf(join)
	}
	join.Window = uint32(h.cfg.Limits.Window)
	join.MaxMessage = uint64(h.cfg.Limits.MaxMessage)
	join.MaxCalls = uint32(h.cfg.Limits.MaxCalls)
	raw, err := proto.Marshal(join)
	if err == nil && len(raw) > maxJoin {
		err = connect.Errorf(connect.CodeInvalidArgument,
			"link: this node's introduction takes %d bytes: the limit is %d", len(raw), maxJoin)
	}
	return raw, err
}

func (h *handshake) receiveJoin() error {
	limitPackets(h.conn, MaxPacket)
	raw, err := h.receive(controlJoin, maxJoin+64)
	if err != nil {
		return err
	}
	join := new(linkv1.Join)
	if err := proto.Unmarshal(raw, join); err != nil {
		return errHandshake
	}
	if join.GetWindow() < 1 || join.GetWindow() > maxWindow || join.GetMaxCalls() < 1 {
		return connect.NewError(connect.CodeInvalidArgument, "link: the other end allows no calls, or too long a window")
	}
	h.peer.Join = join
	return nil
}

// Numbers of the fields of Control.
const (
	controlHello = 1
	controlProof = 2
	controlJoin  = 3
	lastControl  = 7
)

var errHandshake = connect.NewError(connect.CodeInvalidArgument,
	"link: this is not how a link starts: the other end is no rpcmesh node, or of a release that this one does not know")

// send sends one control, whose field num is raw.
func (h *handshake) send(num byte, raw []byte) error {
	control := appendBytes(nil, num<<3|2, raw)
	return h.conn.Send(appendBytes(make([]byte, HeadRoom, HeadRoom+len(control)+8), tagControl, control))
}

// receive returns the field num of the one control that the next packet must be.
func (h *handshake) receive(num protowire.Number, limit int) ([]byte, error) {
	p, err := h.conn.Receive()
	if err != nil {
		return nil, err
	}
	if len(p) > limit {
		return nil, errHandshake
	}
	var body []byte
	found := 0
	field := func(n protowire.Number, v []byte) error {
		if n == num {
			body, found = v, found+1
		} else if n <= lastControl {
			return errHandshake
		}
		return nil
	}
	err = eachBytes(p, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			return eachBytes(v, field)
		case 2:
			return errHandshake
		}
		return nil
	})
	if err != nil || found != 1 {
		return nil, errHandshake
	}
	return body, nil
}
