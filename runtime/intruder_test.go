package rpcmesh_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// intruder is a peer that has proven the secret, and then says what it likes.
type intruder struct {
	t    testing.TB
	conn carrier.Conn
	call uint32 // the next id of a call of its own
	// proxy: it says that it is one.
	proxy bool
}

// join is what an intruder says of itself.
func intruderJoin(proxy bool, namespaces []*linkv1.LinkNamespace) *linkv1.Join {
	return &linkv1.Join{
		Info: &linkv1.NodeInfo{Name: "intruder"}, Namespaces: namespaces, Proxy: proxy,
		Window: 1 << 20, MaxMessage: 1 << 20, MaxCalls: 1 << 10,
	}
}

func (in *intruder) config() (cfg link.Config, done func()) {
	workers := link.NewWorkers()
	return link.Config{
		Node: rpcmesh.NodeID([]byte("the intruder's id")[:16]), Name: "intruder", Incarnation: 1,
		Secret: []byte(rpcmeshtest.Secret), Workers: workers,
	}, workers.Wait
}

// plain are namespaces as a link carries them.
func plain(names ...string) (namespaces []*linkv1.LinkNamespace) {
	for _, name := range names {
		namespaces = append(namespaces, &linkv1.LinkNamespace{Name: name})
	}
	return namespaces
}

// intrude dials the node called to.
func intrude(t testing.TB, c *rpcmeshtest.Cluster, to string, proxy bool, namespaces ...*linkv1.LinkNamespace) *intruder {
	t.Helper()
	in := &intruder{t: t, call: 1, proxy: proxy}
	u, err := url.Parse(rpcmeshtest.URL(to))
	if err != nil {
		t.Fatal(err)
	}
	in.conn, err = carrier.Dialer{Dial: c.Dialer("intruder"), MaxPacket: link.MaxPacket}.Open(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	cfg, done := in.config()
	defer done()
	if _, err = link.Dial(t.Context(), in.conn, cfg, intruderJoin(proxy, namespaces)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.conn.Close(nil) })
	return in
}

// awaitDialler listens at the host "intruder" and is there for the first who dials it.
func awaitDialler(t testing.TB, c *rpcmeshtest.Cluster, namespaces ...*linkv1.LinkNamespace) <-chan *intruder {
	t.Helper()
	l, err := c.Listen("intruder")
	if err != nil {
		t.Fatal(err)
	}
	there := make(chan *intruder, 1)
	closed := make(chan struct{})
	var once sync.Once
	links := h2link.NewListener(l, h2link.Options{MaxMessage: link.MaxPacket}, func(conn *h2link.Conn) error {
		in := &intruder{t: t, conn: carrier.AcceptedConn(conn), call: 2}
		cfg, done := in.config()
		defer done()
		_, err := link.Accept(t.Context(), in.conn, cfg, func(link.Peer) (*linkv1.Join, error) {
			return intruderJoin(false, namespaces), nil
		})
		if err != nil {
			return err
		}
		once.Do(func() { there <- in })
		<-closed
		return nil
	})
	server := &http.Server{}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(links) }) // ends with the server
	t.Cleanup(func() {
		close(closed)
		_ = server.Close()
		c.ResetAll("intruder")
		serving.Wait()
		links.Wait()
	})
	return there
}

// say sends a packet.
func (in *intruder) say(p *linkv1.Packet) {
	in.t.Helper()
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, link.HeadRoom), p)
	if err != nil {
		in.t.Fatal(err)
	}
	_ = in.conn.Send(b) // what comes of it shows in what is received
}

// receive returns the next packet, and how the link ended where there is none.
func (in *intruder) receive() (*linkv1.Packet, error) {
	b, err := in.conn.Receive()
	if err != nil {
		return nil, err
	}
	p := new(linkv1.Packet)
	return p, proto.Unmarshal(b, p)
}

// opens makes a call with a message and returns how it ends. It refuses the calls that come to it meanwhile.
func (in *intruder) opens(open *linkv1.Open, hops uint32) *linkv1.End {
	in.t.Helper()
	id := in.call
	in.call += 2
	in.say(&linkv1.Packet{Frames: []*linkv1.Frame{{Call: id, Hops: hops, Open: open, Data: []byte{}, CloseSend: true}}})
	return in.awaitEnd(id)
}

// awaitEnd returns how a call of the intruder's ends.
func (in *intruder) awaitEnd(id uint32) *linkv1.End {
	in.t.Helper()
	for {
		p, err := in.receive()
		if err != nil {
			in.t.Fatalf("the link ended: %v", err)
		}
		for _, f := range p.GetFrames() {
			switch {
			case f.GetCall() == id && f.End != nil:
				return f.GetEnd()
			case f.Open != nil:
				in.say(&linkv1.Packet{Frames: []*linkv1.Frame{{Call: f.GetCall(), End: &linkv1.End{
					Code: uint32(connect.CodeUnavailable), Message: "it came back",
					Failure: &rpcmeshv1.CallFailure{Certainty: notStarted},
				}}}})
			}
		}
	}
}

// cutOff reports whether the other end closes the link for what was said.
func (in *intruder) cutOff() error {
	for {
		p, err := in.receive()
		if err != nil {
			return err
		}
		for _, c := range p.GetControls() {
			if c.GetPong() != nil {
				return nil
			}
		}
	}
}

func idOf(n *rpcmesh.Node) []byte {
	id := n.ID()
	return id[:]
}

// startOf returns when a node started, as its neighbours tell it.
func startOf(n *rpcmesh.Node) uint64 {
	for m := range n.Members() {
		if m.ID == n.ID() {
			return m.Incarnation
		}
	}
	return 0
}

// withoutName is a text in which a namespace's name is blank.
func withoutName(text, name string) string {
	return strings.ReplaceAll(text, fmt.Sprintf("%q", name), "NAME")
}

func codeOfEnd(end *linkv1.End) connect.Code { return connect.Code(end.GetCode()) }
