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
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

const (
	wireVersion = 1
	nonceSize   = 32
	// maxHello bounds what a peer that has proven nothing can make this end read.
	maxHello    = 4 << 10
	maxFeatures = 64
	maxJoin     = 256 << 10
)

// Dial starts a session on a connection that this end dialled. ask says who this node is and what it wants the link to
// carry; Dial fills in the limits. It returns within the handshake timeout. If it fails, the connection is closed; the
// error is a *connect.Error: unauthenticated where the proof was wrong, failed_precondition for a link to itself,
// already_exists where the peer has this node's id but is another process.
func Dial(ctx context.Context, c Conn, cfg Config, ask *linkv1.Join) (*Session, error) {
	return runHandshake(ctx, c, cfg, func(h *handshake) error { return h.dial(ask) })
}

// Accept starts a session on a connection that the peer dialled, likewise. answer is called once the peer has proven the
// secret. It returns who this node is and what the link will carry, or an error that refuses the link, which the peer is
// told if it is a *connect.Error.
func Accept(ctx context.Context, c Conn, cfg Config, answer func(peer Peer) (*linkv1.Join, error)) (*Session, error) {
	return runHandshake(ctx, c, cfg, func(h *handshake) error { return h.accept(answer) })
}

// runHandshake runs a handshake within its timeout.
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
	limitPackets(c, maxHello) // until the peer has proven something
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
	cfg.Secret, cfg.OtherSecrets = nil, nil // which the session has no use for
	cfg.Key = nil
	return newSession(c, cfg, h.dialler, h.peer), nil
}

var errHandshakeTimeout = connect.NewError(connect.CodeDeadlineExceeded,
	"link: the handshake took too long: the other end is overloaded, or a proxy between holds back what it is to pass on "+
		"(nginx: use grpc_pass)")

// handshakeTimeoutError is the error of a handshake that the end of its context has interrupted.
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
	chosen        int    // the index of the secret that proves
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
	if err := h.send(frame.ControlJoin, join); err != nil {
		return h.joinError(err)
	}
	return h.receiveJoin()
}

// connError returns why the connection does not take the first packet, where it knows, and otherwise err.
func (h *handshake) connError(err error) error {
	_, told := h.conn.Receive()
	if e, ok := errors.AsType[*connect.Error](told); ok {
		return e
	}
	return err
}

// joinError returns why the listener has closed the connection, where it has told, and otherwise err, which sending the
// Join ended with.
func (h *handshake) joinError(err error) error {
	told, ok := errors.AsType[*connect.Error](h.receiveJoin())
	if ok && told.IsRemote() {
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
	return h.send(frame.ControlJoin, join)
}

// checkSelf refuses a link to a peer with this node's own id.
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
	return h.send(frame.ControlHello, hello)
}

func (h *handshake) receiveHello() error {
	raw, err := h.receive(frame.ControlHello, maxHello)
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
	if !h.cfg.AcceptAnyone { // otherwise TLS may end in between, at a proxy
		h.binding, err = h.conn.Binding()
	}
	return err
}

// setFeatures notes the peer's features, and which order of proofs both ends know.
func (h *handshake) setFeatures(features []string) {
	h.listenerFirst = slices.Contains(features, featureListenerFirst)
	h.peer.OldProofs = !h.listenerFirst
	h.peer.Features = slices.DeleteFunc(slices.Clone(features), func(f string) bool { return f == featureListenerFirst })
}

// encodeJoin returns the Join, with this end's limits in it.
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
	raw, err := h.receive(frame.ControlJoin, maxJoin+64)
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

var errHandshake = connect.NewError(connect.CodeInvalidArgument,
	"link: this is not how a link starts: the other end is no rpcmesh node, or of a release that this one does not know")

// send sends one control, whose field num is raw.
func (h *handshake) send(num byte, raw []byte) error {
	return h.conn.Send(frame.AppendControl(make([]byte, HeadRoom, HeadRoom+len(raw)+16), num, raw))
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
	body, ok := frame.ParseControl(p, num)
	if !ok {
		return nil, errHandshake
	}
	return body, nil
}
