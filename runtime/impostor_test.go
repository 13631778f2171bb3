package rpcmesh_test

import (
	"crypto/ed25519"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// impostor is a member that tells of p.S/Do and answers as it likes.
type impostor struct {
	mu      sync.Mutex
	core    *mesh.Core
	session *link.Session
	policy  rpcmesh.Policy
	serve   func(*link.ServerCall)
	lies    []*linkv1.Table // told before what the core has
	lied    bool            // the core does not know what was told, and is told no more
	asked   atomic.Int32
}

// impersonate links an impostor to the node called to, in public, with a function of that schema's hash, single
// unless it is given a policy.
func impersonate(
	t *testing.T, c *rpcmeshtest.Cluster, name, to string, hash []byte, serve func(*link.ServerCall), policy ...rpcmesh.Policy,
) *impostor {
	t.Helper()
	im := &impostor{serve: serve}
	for _, p := range policy {
		im.policy = p
	}
	id, info := rpcmesh.NodeID([]byte(name + strings.Repeat(".", 16))[:16]), &linkv1.NodeInfo{Name: name}
	im.core = mesh.New(mesh.Config{ID: id, Incarnation: 1, Info: info})
	now := time.Now()
	if err := im.core.Declare(now, "public"); err != nil {
		t.Fatal(err)
	}
	im.register(hash)
	dialer := carrier.Dialer{Dial: c.Dialer(name), MaxPacket: link.MaxPacket}
	u, err := url.Parse(rpcmeshtest.URL(to))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialer.Open(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	join := &linkv1.Join{Info: info, Namespaces: []*linkv1.LinkNamespace{{Name: "public"}}}
	workers := link.NewWorkers()
	im.session, err = link.Dial(t.Context(), conn, link.Config{
		Node: id, Name: name, Incarnation: 1, Secret: []byte(rpcmeshtest.Secret), Workers: workers,
	}, join)
	if err != nil {
		t.Fatal(err)
	}
	peer := im.session.Peer()
	if err := im.core.LinkUp(now, 1, mesh.Peer{
		ID: peer.Node, Incarnation: peer.Incarnation, Info: peer.Join.GetInfo(), Local: join.GetNamespaces(), Remote: peer.Join.GetNamespaces(),
	}); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = im.session.Run(im) })
	t.Cleanup(func() {
		im.session.Close(&linkv1.Goodbye{})
		conn.Close(nil)
		running.Wait()
		workers.Wait()
	})
	synctest.Wait()
	return im
}

// register tells of the function with another schema than before.
func (im *impostor) register(hash []byte) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.core.Unregister(time.Now(), "public", []string{doProcedure})
	_ = im.core.Register(time.Now(), "public", []mesh.Function{{Procedure: doProcedure, Policy: im.policy, Schema: hash}}) // what fails shows
	if im.session != nil {
		im.session.TableChanged()
	}
}

func (im *impostor) Route(in *link.Incoming) link.Route {
	if in.Procedure != "/rpcmesh.v1.SchemaService/GetSchema" {
		return link.Route{Err: connect.NewError(connect.CodeUnimplemented, "")}
	}
	im.asked.Add(1)
	im.mu.Lock()
	defer im.mu.Unlock()
	return link.Route{Serve: im.serve}
}

func (im *impostor) Table(t *linkv1.Table) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.lied {
		return nil
	}
	defer im.session.TableChanged()
	return im.core.Receive(time.Now(), 1, t)
}

func (im *impostor) PullTable() (*linkv1.Table, bool) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if len(im.lies) > 0 {
		lie := im.lies[0]
		im.lies = im.lies[1:]
		return lie, false
	}
	im.core.Pending()
	return im.core.Pull(time.Now(), 1, link.TableBudget), false
}

// tell tells something of others, in public.
func (im *impostor) tell(records ...*linkv1.Record) {
	im.mu.Lock()
	im.lied = true
	im.lies = append(im.lies, &linkv1.Table{Namespace: "public", Records: records})
	im.mu.Unlock()
	im.session.TableChanged()
}

func (im *impostor) Ended(*link.Ended) {}

// answer sends pieces as a schema.
func answer(call *link.ServerCall, pieces ...[]byte) {
	for _, piece := range pieces {
		b, err := proto.Marshal(&rpcmeshv1.GetSchemaResponse{Piece: piece})
		if err == nil {
			err = call.Send(b)
		}
		if err != nil {
			return // the caller is gone
		}
	}
	_ = call.End(nil, nil)
}

// TestStartKey: a node proves the same key on all its links, and another one after each start.
func TestStartKey(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Setup("a", func(n *rpcmesh.Node) { n.Namespace("public") })
		keyBy := func(name string) string {
			return string(impersonate(t, c, name, "a", nil, nil).session.Peer().Key)
		}
		one, two := keyBy("x"), keyBy("y")
		if len(one) != ed25519.PublicKeySize || one != two {
			t.Errorf("the links see the keys %x and %x", one, two)
		}
		c.Restart("a")
		if again := keyBy("z"); len(again) != ed25519.PublicKeySize || again == one {
			t.Errorf("after a restart: %x, before: %x", again, one)
		}
	})
}
