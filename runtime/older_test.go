package rpcmesh_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net/url"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// older is a node of before the listening end proved first, which dials.
type older struct {
	conn         link.Conn
	mine, theirs []byte
}

func (o *older) send(c *linkv1.Control) error {
	raw, err := proto.Marshal(&linkv1.Packet{Controls: []*linkv1.Control{c}})
	if err != nil {
		return err
	}
	return o.conn.Send(append(make([]byte, link.HeadRoom), raw...))
}

func (o *older) receive() (*linkv1.Control, error) {
	raw, err := o.conn.Receive()
	if err != nil {
		return nil, err
	}
	packet := new(linkv1.Packet)
	if err := proto.Unmarshal(raw, packet); err != nil {
		return nil, err
	}
	return packet.GetControls()[0], nil
}

// link goes through the handshake, in which the dialling end proves first by an HMAC whose key is the secret's
// SHA-256.
func (o *older) link(secret string) error {
	h := &linkv1.Hello{Version: 1, Node: []byte("older than others"[:16]), Incarnation: 1, Nonce: make([]byte, 32)}
	o.mine, _ = proto.Marshal(h)
	err := o.send(&linkv1.Control{Body: &linkv1.Control_Hello{Hello: h}})
	if err != nil {
		return err
	}
	c, err := o.receive()
	if err != nil {
		return err
	}
	o.theirs, _ = proto.Marshal(c.GetHello())
	key := sha256.Sum256([]byte(secret))
	mac := hmac.New(sha256.New, key[:])
	for _, part := range [][]byte{[]byte("rpcmesh link 1 dialler"), o.mine, o.theirs, nil} {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		mac.Write(part)
	}
	for _, c := range []*linkv1.Control{
		{Body: &linkv1.Control_Proof{Proof: &linkv1.Proof{Mac: mac.Sum(nil)}}},
		{Body: &linkv1.Control_Join{Join: &linkv1.Join{
			Info: &linkv1.NodeInfo{Name: "older"}, Namespaces: []*linkv1.LinkNamespace{{Name: "default"}},
			Window: 1 << 18, MaxCalls: 100, MaxMessage: 1 << 20,
		}}},
	} {
		if err == nil {
			err = o.send(c)
		}
		if err == nil {
			_, err = o.receive() // its like
		}
	}
	return err
}

// TestOlderNode: it is refused, or where the configuration says so linked with and warned of once.
func TestOlderNode(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			var log lockedBuffer
			c.Node("a", func(cfg *rpcmesh.Config) {
				cfg.AcceptOldProofs, cfg.Secret, cfg.Secrets = !refuses, "", []string{"another", rpcmeshtest.Secret}
				cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			})
			for range 3 {
				u, err := url.Parse(rpcmeshtest.URL("a"))
				if err != nil {
					t.Fatal(err)
				}
				conn, err := carrier.Dialer{Dial: c.Dialer("older"), MaxPacket: link.MaxPacket}.Open(t.Context(), u)
				if err != nil {
					t.Fatal(err)
				}
				err = (&older{conn: conn}).link(rpcmeshtest.Secret)
				conn.Close(nil)
				if refuses {
					wantError(t, err, connect.CodeFailedPrecondition, "update it")
				} else if err != nil {
					t.Error(err)
				}
			}
			want := 1
			if refuses {
				want = 0
			}
			if got := log.count("level=WARN", "a node of an older release"); got != want {
				t.Errorf("it was warned of %d times:\n%s", got, log.String())
			}
		})
	}
}
