package link_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// oldPeer is an end of before there was the second order of proofs, as it was.
type oldPeer struct {
	conn    *linktest.Conn
	secret  []byte // nil: it accepts anyone
	dialler bool

	mine, theirs []byte
}

func (o *oldPeer) send(c *linkv1.Control) error {
	raw, err := proto.Marshal(&linkv1.Packet{Controls: []*linkv1.Control{c}})
	if err != nil {
		return err
	}
	return o.conn.Send(append(make([]byte, link.HeadRoom), raw...))
}

func (o *oldPeer) receive() (*linkv1.Control, error) {
	raw, err := o.conn.Receive()
	if err != nil {
		return nil, err
	}
	packet := new(linkv1.Packet)
	if err := proto.Unmarshal(raw, packet); err != nil {
		return nil, err
	}
	if len(packet.GetControls()) != 1 || len(packet.GetFrames()) != 0 {
		return nil, errors.New("this is not how a link starts")
	}
	return packet.GetControls()[0], nil
}

func (o *oldPeer) sendHello() error {
	id := nodeID(9)
	h := &linkv1.Hello{Version: 1, Node: id[:], Incarnation: 1, Nonce: make([]byte, 32)}
	_, _ = rand.Read(h.GetNonce()) // never fails
	var err error
	if o.mine, err = proto.Marshal(h); err != nil {
		return err
	}
	return o.send(&linkv1.Control{Body: &linkv1.Control_Hello{Hello: h}})
}

func (o *oldPeer) receiveHello() error {
	c, err := o.receive()
	if err != nil {
		return err
	}
	if c.GetHello().GetVersion() != 1 || len(c.GetHello().GetNonce()) != 32 {
		return errors.New("no Hello")
	}
	o.theirs, err = proto.MarshalOptions{Deterministic: true}.Marshal(c.GetHello())
	return err
}

func (o *oldPeer) sendProof() error {
	p := new(linkv1.Proof)
	if o.secret != nil {
		p.Mac = o.mac(o.dialler)
	}
	return o.send(&linkv1.Control{Body: &linkv1.Control_Proof{Proof: p}})
}

func (o *oldPeer) receiveProof() error {
	c, err := o.receive()
	switch {
	case err != nil:
		return err
	case c.GetProof() == nil:
		return errors.New("no Proof")
	case o.secret == nil && len(c.GetProof().GetMac()) > 0:
		return connect.NewError(connect.CodeFailedPrecondition, "one end has a secret")
	case o.secret != nil && !hmac.Equal(c.GetProof().GetMac(), o.mac(!o.dialler)):
		return connect.NewError(connect.CodeUnauthenticated, "wrong secret")
	}
	return nil
}

func (o *oldPeer) mac(dialler bool) []byte {
	label, first, second := "rpcmesh link 1 listener", o.theirs, o.mine
	if o.dialler {
		first, second = o.mine, o.theirs
	}
	if dialler {
		label = "rpcmesh link 1 dialler"
	}
	binding, _ := o.conn.Binding() // a pipe's does not fail
	key := sha256.Sum256(o.secret)
	m := hmac.New(sha256.New, key[:])
	for _, part := range [][]byte{[]byte(label), first, second, binding} {
		m.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		m.Write(part)
	}
	return m.Sum(nil)
}

func (o *oldPeer) sendJoin() error { return o.send(join(func(*linkv1.Join) {})) }

func (o *oldPeer) receiveJoin() error {
	c, err := o.receive()
	if err == nil && c.GetJoin() == nil {
		err = errors.New("no Join")
	}
	return err
}

// shake runs the handshake and closes the connection if it fails.
func (o *oldPeer) shake() error {
	steps := []func() error{o.receiveHello, o.sendHello, o.receiveProof, o.sendProof, o.receiveJoin, o.sendJoin}
	if o.dialler {
		steps = []func() error{o.sendHello, o.receiveHello, o.sendProof, o.receiveProof, o.sendJoin, o.receiveJoin}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			o.conn.Close(err)
			return err
		}
	}
	return nil
}

// end is one of those that the table of handshakes is made of.
type end struct {
	old     bool // of before the second order
	refuses bool // ends of before
	secrets string
}

func (e end) String() string {
	s := "[" + e.secrets + "]"
	if e.old {
		s += " old"
	}
	if e.refuses {
		s += " strict"
	}
	return s
}

func (e end) list() [][]byte {
	var list [][]byte
	for _, s := range e.secrets {
		list = append(list, []byte(string(s)))
	}
	return list
}

func (e end) configure(cfg *link.Config) {
	cfg.Secret, cfg.AcceptAnyone, cfg.AcceptOldProofs = nil, e.secrets == "", !e.refuses
	if list := e.list(); len(list) > 0 {
		cfg.Secret, cfg.OtherSecrets = list[0], list[1:]
	}
}

// links tells whether dialler and listener link: where both know the second order, if they have a secret in
// common or both have none; an old end has the one that it proves.
func links(dialler, listener end) bool {
	switch {
	case dialler.old && listener.refuses && listener.secrets != "", listener.old && dialler.refuses && dialler.secrets != "":
		return false
	case dialler.secrets == "" || listener.secrets == "":
		return dialler.secrets == listener.secrets
	case listener.old:
		return dialler.secrets[0] == listener.secrets[0]
	}
	return slices.ContainsFunc([]byte(dialler.secrets), func(s byte) bool { return slices.Contains([]byte(listener.secrets), s) })
}

// meet runs a handshake between two ends and returns what each made of it.
func meet(t *testing.T, dialler, listener end) (dialErr, acceptErr error) {
	near, far := linktest.Pipe()
	accepted := make(chan error)
	go func() { accepted <- listener.accept(t, far) }()
	return dialler.dial(t, near), <-accepted
}

func (e end) accept(t *testing.T, conn *linktest.Conn) error {
	if e.old {
		return (&oldPeer{conn: conn, secret: first(e.list())}).shake()
	}
	cfg := newNode(1, link.Limits{}).cfg
	cfg.Key = keyOf(1)
	e.configure(&cfg)
	_, err := link.Accept(t.Context(), conn, cfg, func(link.Peer) (*linkv1.Join, error) { return nil, nil })
	return err
}

func (e end) dial(t *testing.T, conn *linktest.Conn) error {
	if e.old {
		return (&oldPeer{conn: conn, secret: first(e.list()), dialler: true}).shake()
	}
	cfg := newNode(0, link.Limits{}).cfg
	cfg.Key = keyOf(0)
	e.configure(&cfg)
	_, err := link.Dial(t.Context(), conn, cfg, nil)
	return err
}

func first(list [][]byte) []byte {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// TestEveryPair has ends of both wires, with all kinds of secrets, meet each other in both directions.
func TestEveryPair(t *testing.T) {
	var ends []end
	for _, secrets := range []string{"", "a", "b", "c"} {
		ends = append(ends, end{old: true, secrets: secrets})
	}
	for _, secrets := range []string{"", "a", "b", "ab", "ba", "bc", "cba"} {
		ends = append(ends, end{secrets: secrets}, end{secrets: secrets, refuses: true})
	}
	for _, dialler := range ends {
		for _, listener := range ends {
			if dialler.old && listener.old {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				dialErr, acceptErr := meet(t, dialler, listener)
				pair := fmt.Sprintf("%v dials %v", dialler, listener)
				if links(dialler, listener) {
					if err := errors.Join(dialErr, acceptErr); err != nil {
						t.Errorf("%s: %v", pair, err)
					}
					return
				}
				for _, err := range []error{dialErr, acceptErr} {
					if code := connect.CodeOf(err); code != connect.CodeUnauthenticated && code != connect.CodeFailedPrecondition {
						t.Errorf("%s: %v", pair, err)
					}
				}
			})
		}
	}
}
