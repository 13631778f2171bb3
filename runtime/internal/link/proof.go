package link

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// MaxSecrets is how many secrets an end may have.
const MaxSecrets = 8

// featureListenerFirst is the second order of proofs: see the package's text in link.proto. Both ends must
// name it.
const featureListenerFirst = "listener-first"

const throughProxy = ". Link by https, have the proxy pass TLS through (nginx: a stream server, HAProxy: mode tcp), " +
	"and set Config.TLS at the node behind it"

// These errors name the two ends by what they do, as both may be told them: "this one" would be wrong for one of them.
var (
	errSecret = connect.NewError(connect.CodeUnauthenticated,
		"link: wrong secret: the two nodes have none in common: set the same Config.Secret at both; spaces and line ends in it count")
	errRefused = connect.NewError(connect.CodeUnauthenticated,
		"link: wrong secret, or none: the dialling node does not have that of the listening one: set the same Config.Secret at both")
	errNoProof = connect.NewError(connect.CodeFailedPrecondition,
		"link: one end has a secret, the dialling one, and the listening one has none: set the same Config.Secret at both, "+
			"or at neither, where Config.Authenticate alone is to decide")
	errSecretWanted = connect.NewError(connect.CodeUnauthenticated,
		"link: the other end wants a secret, and this one has none: set the secret of the mesh, Config.Secret or ProxyConfig.Secret")
	errKeyUnproven = connect.NewError(connect.CodeUnauthenticated, "link: the other end has not the key that it tells")
	// errOldProofs is for peers that know only the first order of proofs.
	errOldProofs = connect.NewError(connect.CodeFailedPrecondition,
		"link: one end is of a release that proves the secret in the old way, which the other does not accept: update it, "+
			"or set Config.AcceptOldProofs at the other until it is")
	// errChannel is the end of a handshake over two channels.
	errChannel = connect.NewError(connect.CodeUnauthenticated,
		"link: no secret can be proven: TLS does not reach from node to node, it ends at a proxy between them"+throughProxy)
	// errChannelOrSecret is for a peer of an older release, which does not tell enough to say more.
	errChannelOrSecret = connect.NewError(connect.CodeUnauthenticated,
		"link: wrong secret, or none at one end, or TLS ends at a proxy between the two nodes: "+
			"set the same Config.Secret at both"+throughProxy)
)

// dialProofs exchanges the proofs as the dialler.
func (h *handshake) dialProofs() error {
	if h.listenerFirst {
		if err := h.receiveListenerProof(); err != nil {
			return err
		}
		return h.sendProof(&linkv1.Proof{Mac: h.chosenMAC()})
	}
	if h.refusesOldProofs() {
		return errOldProofs
	}
	if err := h.sendProof(&linkv1.Proof{Mac: h.chosenMAC()}); err != nil {
		return err
	}
	return h.explainRefusal(h.receiveProof())
}

// acceptProofs exchanges the proofs as the listener.
func (h *handshake) acceptProofs() error {
	if h.listenerFirst {
		if err := h.sendProof(&linkv1.Proof{Macs: h.macs(listener), Bound: h.binding != nil, Channel: h.channel()}); err != nil {
			return err
		}
		return h.receiveProof()
	}
	if err := h.receiveProof(); err != nil {
		return err
	}
	if h.refusesOldProofs() {
		return errOldProofs
	}
	if err := h.checkSelf(); err != nil { // before the dialler takes the handshake to have succeeded
		return err
	}
	return h.sendProof(&linkv1.Proof{Mac: h.chosenMAC()})
}

// refusesOldProofs reports whether peers are refused that know only the first order of proofs. Where there is no secret,
// that order gives nothing away.
func (h *handshake) refusesOldProofs() bool { return !h.cfg.AcceptOldProofs && !h.cfg.AcceptAnyone }

// explainRefusal returns why an end without a secret was refused, which the peer does not tell it.
func (h *handshake) explainRefusal(err error) error {
	if !h.cfg.AcceptAnyone || connect.CodeOf(err) != connect.CodeUnauthenticated {
		return err
	}
	return errSecretWanted.WithCause(err)
}

// receiveListenerProof receives the listener's proof. If the proof is refused, it tells the listener so, with nothing
// that would help to guess the secret, and waits for the listener to close: otherwise the listener's log would have no
// cause.
func (h *handshake) receiveListenerProof() error {
	proof, err := h.readProof()
	if err != nil {
		return err
	}
	refusal := h.checkListenerProof(proof)
	if refusal == nil {
		return nil
	}
	raw, err := proto.Marshal(&linkv1.Proof{Refused: true, Bound: h.binding != nil, Channel: h.channel()})
	if err == nil {
		err = h.send(frame.ControlProof, raw)
	}
	if err == nil {
		_, _ = h.receive(frame.ControlProof, maxHello) // it fails, as the listener closes the connection
	}
	return refusal
}

func (h *handshake) checkListenerProof(proof *linkv1.Proof) error {
	switch {
	case len(proof.GetMacs()) > MaxSecrets:
		return errHandshake
	case h.cfg.AcceptAnyone && len(proof.GetMacs()) > 0:
		return errSecretWanted
	case !h.cfg.AcceptAnyone && len(proof.GetMacs()) == 0:
		return errNoProof
	case h.cfg.AcceptAnyone:
		return h.checkSignature(proof)
	}
	h.chosen = slices.IndexFunc(h.macs(listener), func(mac []byte) bool { return containsMAC(proof.GetMacs(), mac) })
	if h.chosen < 0 {
		return h.proofError(proof, errSecret)
	}
	return h.checkSignature(proof)
}

// proofError returns why a proof is wrong: errChannel where what the peer says of its channel shows that there are two,
// and otherwise the given error.
func (h *handshake) proofError(proof *linkv1.Proof, otherwise error) error {
	switch {
	case proof.GetBound() != (h.binding != nil):
		return errChannel
	case h.binding == nil, bytes.Equal(proof.GetChannel(), h.channel()):
		return otherwise
	case len(proof.GetChannel()) == 0: // from a node that does not tell it
		return errChannelOrSecret
	default:
		return errChannel
	}
}

// channel identifies the TLS channel, so that two ends can tell whether they have the same. It does not reveal the
// binding.
func (h *handshake) channel() []byte {
	if h.binding == nil {
		return nil
	}
	sum := sha256.Sum256(append([]byte("rpcmesh link channel"), h.binding...))
	return sum[:8]
}

// receiveProof receives the proof of a peer that proves by one secret.
func (h *handshake) receiveProof() error {
	proof, err := h.readProof()
	switch {
	case err != nil:
		return err
	case proof.GetRefused() && !h.cfg.AcceptAnyone:
		return h.refusalError(proof)
	case proof.GetRefused(), h.cfg.AcceptAnyone && len(proof.GetMac()) > 0:
		return errNoProof
	case h.cfg.AcceptAnyone:
		return h.checkSignature(proof)
	}
	h.chosen = slices.IndexFunc(h.macs(!h.side()), func(mac []byte) bool { return hmac.Equal(mac, proof.GetMac()) })
	if h.chosen < 0 {
		return errSecret
	}
	return h.checkSignature(proof)
}

// refusalError is why the dialler refused this end's proof. In cleartext, and where the dialler does not tell its
// channel, only a wrong secret is known.
func (h *handshake) refusalError(proof *linkv1.Proof) error {
	if h.binding != nil && !proof.GetBound() && len(proof.GetChannel()) == 0 {
		return errChannelOrSecret
	}
	return h.proofError(proof, errRefused)
}

// readProof returns the peer's proof, unchecked, and keeps the listener's for the transcript.
func (h *handshake) readProof() (*linkv1.Proof, error) {
	raw, err := h.receive(frame.ControlProof, maxHello)
	if err != nil {
		return nil, err
	}
	proof := new(linkv1.Proof)
	if err := proto.Unmarshal(raw, proof); err != nil {
		return nil, errHandshake
	}
	if h.dialler {
		h.listenerProof = bytes.Clone(raw)
	}
	return proof, nil
}

// sendProof signs the proof and sends it.
func (h *handshake) sendProof(proof *linkv1.Proof) error {
	if h.cfg.Key != nil {
		proof.Signature = ed25519.Sign(h.cfg.Key, h.transcript(h.side(), "'s key"))
	}
	raw, err := proto.Marshal(proof)
	if err != nil {
		return err
	}
	if !h.dialler {
		h.listenerProof = raw
	}
	return h.send(frame.ControlProof, raw)
}

// checkSignature checks that the peer has the key that it told, if it told one.
func (h *handshake) checkSignature(proof *linkv1.Proof) error {
	if h.peer.Key != nil && !ed25519.Verify(h.peer.Key, h.transcript(!h.side(), "'s key"), proof.GetSignature()) {
		return errKeyUnproven
	}
	return nil
}

// side is one of the two ends of a handshake.
type side bool

const (
	listener side = false
	dialler  side = true
)

func (s side) String() string {
	if s == dialler {
		return "dialler"
	}
	return "listener"
}

func (h *handshake) side() side { return side(h.dialler) }

// chosenMAC is this end's proof by the chosen secret; none where it accepts anyone.
func (h *handshake) chosenMAC() []byte {
	if h.cfg.AcceptAnyone {
		return nil
	}
	return h.mac(h.cfg.secrets()[h.chosen], h.side())
}

// macs are a side's proofs by each of this end's secrets.
func (h *handshake) macs(of side) [][]byte {
	secrets := h.cfg.secrets()
	macs := make([][]byte, len(secrets))
	for i, secret := range secrets {
		macs[i] = h.mac(secret, of)
	}
	return macs
}

// mac is a side's proof: HMAC-SHA256 over the transcript, keyed by the stretched secret or, in the first order, by the
// secret's SHA-256 (HMAC itself ignores zeros at a key's end).
func (h *handshake) mac(secret []byte, of side) []byte {
	key := derivedKeys.key(secret)
	if !h.listenerFirst {
		sum := sha256.Sum256(secret)
		key = sum[:]
	}
	m := hmac.New(sha256.New, key)
	m.Write(h.transcript(of, ""))
	return m.Sum(nil)
}

// transcript is what a side proves: a label that says whose it is, which order of proofs it belongs to and
// what it is for; both Hellos as they were sent (and with them the version, the features, and both ends'
// ids, incarnations, nonces and keys); the connection's binding; and, from the dialler in the second order,
// the listener's Proof. Each comes with its length before it.
func (h *handshake) transcript(of side, purpose string) []byte {
	order := "1"
	first, second := h.peerHello, h.ownHello
	if h.dialler {
		first, second = h.ownHello, h.peerHello
	}
	parts := [][]byte{nil, first, second, h.binding}
	if h.listenerFirst {
		order = "2"
		if of == dialler {
			parts = append(parts, h.listenerProof)
		}
	}
	parts[0] = []byte("rpcmesh link " + order + " " + of.String() + purpose)
	var t []byte
	for _, part := range parts {
		t = binary.BigEndian.AppendUint32(t, uint32(len(part)))
		t = append(t, part...)
	}
	return t
}

func containsMAC(macs [][]byte, want []byte) bool {
	return slices.ContainsFunc(macs, func(mac []byte) bool { return hmac.Equal(mac, want) })
}

// publicKey returns the public half of key, nil of none.
func publicKey(key ed25519.PrivateKey) ed25519.PublicKey {
	if key == nil {
		return nil
	}
	public, _ := key.Public().(ed25519.PublicKey) // it always is
	return public
}
