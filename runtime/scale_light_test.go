package rpcmesh_test

import (
	"context"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// lightMember is a member that links and tells as any other, but of what it is told keeps only whom it is told
// of: so a process can have thousands of them.
type lightMember struct {
	name    string
	hub     *url.URL
	core    *mesh.Core // of itself and its link alone
	indexes *sync.Map  // by node: their numbers

	mu      sync.Mutex
	session *link.Session
	id      mesh.LinkID
	known   []bool // by number
	knows   atomic.Int64
}

// newLightMember returns the i-th member, which knows of all others by indexes.
func newLightMember(t testing.TB, name string, i int, hub *url.URL, indexes *sync.Map) *lightMember {
	id := rpcmesh.NodeID([]byte(name + strings.Repeat(".", 16))[:16])
	indexes.Store(id, i)
	m := &lightMember{name: name, hub: hub, indexes: indexes}
	m.core = mesh.New(mesh.Config{ID: id, Incarnation: 1, Info: &linkv1.NodeInfo{Name: name}})
	now := time.Now()
	if err := m.core.Declare(now, "public"); err != nil {
		t.Fatal(err)
	}
	if err := m.core.Register(now, "public", []mesh.Function{{Procedure: memberProcedure(name)}}); err != nil {
		t.Fatal(err)
	}
	return m
}

// keep links to the hub until ctx ends, with pauses as a node's.
func (m *lightMember) keep(ctx context.Context, s *scale) {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := m.once(ctx)
		if ctx.Err() != nil {
			return
		}
		s.lostLink(err)
		if time.Since(began) > 10*time.Second {
			pause = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause - rand.N(pause/2)):
		}
		pause = min(2*pause, 10*time.Second)
	}
}

func (m *lightMember) once(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := carrier.Dialer{MaxPacket: link.MaxPacket}.Open(dialing, m.hub)
	if err != nil {
		return err
	}
	defer conn.Close(nil)
	stop := context.AfterFunc(ctx, func() { conn.Close(nil) })
	defer stop()
	workers := link.NewWorkers()
	defer workers.Wait()
	join := &linkv1.Join{Info: &linkv1.NodeInfo{Name: m.name}, Namespaces: []*linkv1.LinkNamespace{{Name: "public"}}}
	keepalive := *scaleKeepalive
	if keepalive == 0 {
		keepalive = 3 * time.Second
	}
	id := rpcmesh.NodeID([]byte(m.name + strings.Repeat(".", 16))[:16])
	session, err := link.Dial(ctx, &lightConn{Conn: conn, member: m}, link.Config{
		Node: id, Name: m.name, Incarnation: 1, Secret: []byte(rpcmeshtestSecret), Workers: workers,
		KeepaliveInterval: keepalive / 3, KeepaliveTimeout: keepalive,
	}, join)
	if err != nil {
		return err
	}
	peer := session.Peer()
	m.mu.Lock()
	m.session, m.known = session, nil
	m.knows.Store(0)
	m.id++
	err = m.core.LinkUp(time.Now(), m.id, mesh.Peer{
		ID: peer.Node, Incarnation: peer.Incarnation, Info: peer.Join.GetInfo(), Local: join.GetNamespaces(), Remote: peer.Join.GetNamespaces(),
	})
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return session.Run(m)
}

func (m *lightMember) Route(*link.Incoming) link.Route { return link.Route{} }

// lightConn takes the records out of the tables that come in, so that nobody has to decode them.
type lightConn struct {
	carrier.Conn
	member *lightMember
	packet []byte
}

func (c *lightConn) Receive() ([]byte, error) {
	p, err := c.Conn.Receive()
	if err != nil {
		return nil, err
	}
	c.packet = withoutRecords(c.packet[:0], p, []protowire.Number{1, 4, 3}, c.member.noteRecord)
	return c.packet, nil
}

// withoutRecords appends the message b without the fields at path, which note is given.
func withoutRecords(to, b []byte, path []protowire.Number, note func([]byte)) []byte {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		size := protowire.ConsumeFieldValue(num, typ, b[max(n, 0):])
		if n < 0 || size < 0 {
			return append(to, b...) // the session finds out
		}
		field := b[:n+size]
		b = b[n+size:]
		if num != path[0] || typ != protowire.BytesType {
			to = append(to, field...)
			continue
		}
		value, _ := protowire.ConsumeBytes(field[n:])
		if len(path) == 1 {
			note(value)
			continue
		}
		to = protowire.AppendTag(to, num, typ)
		to = protowire.AppendBytes(to, withoutRecords(nil, value, path[1:], note))
	}
	return to
}

// noteRecord notes whom a record is of.
func (m *lightMember) noteRecord(record []byte) {
	num, _, n := protowire.ConsumeTag(record)
	if node, size := protowire.ConsumeBytes(record[max(n, 0):]); num == 1 && size > 0 && len(node) == len(rpcmesh.NodeID{}) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.note(rpcmesh.NodeID(node))
	}
}

func (m *lightMember) Table(t *linkv1.Table) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.session.TableChanged()
	return m.core.Receive(time.Now(), m.id, t)
}

func (m *lightMember) note(id rpcmesh.NodeID) {
	v, ok := m.indexes.Load(id)
	if !ok {
		return
	}
	i := v.(int)
	if missing := i + 1 - len(m.known); missing > 0 {
		m.known = append(m.known, make([]bool, missing)...)
	}
	if !m.known[i] {
		m.known[i] = true
		m.knows.Add(1)
	}
}

func (m *lightMember) PullTable() (*linkv1.Table, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.core.Pending()
	return m.core.Pull(time.Now(), m.id, link.TableBudget), false
}

func (m *lightMember) Ended(ended *link.Ended) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.knows.Store(0)
	m.core.LinkDown(time.Now(), m.id, mesh.Cause{Text: ended.Error()})
}
