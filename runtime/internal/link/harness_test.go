package link_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"
	"go.uber.org/goleak"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is one node of a test mesh: its index is its id, and it knows for each other node the session
// that leads there.
type node struct {
	index      int
	cfg        link.Config
	workers    *link.Workers
	opens      atomic.Int32 // that have come in
	serve      func(*link.ServerCall)
	onRoute    func()                  // what Route does first; nil: nothing
	newHandler func() link.CallHandler // in place of serve; may be nil
	onEnded    func()                  // called by Ended

	mu      sync.Mutex
	next    map[int]*link.Session
	tables  []*linkv1.Table // what PullTable is to return
	onTable func()          // what Table does first; nil: nothing
	told    []*linkv1.Table // what Table was given
}

func nodeID(i int) link.NodeID { return link.NodeID{15: byte(i + 1)} }

func newNode(i int, limits link.Limits) *node {
	w := link.NewWorkers()
	return &node{
		index: i, workers: w, next: make(map[int]*link.Session),
		cfg: link.Config{
			Node: nodeID(i), Name: fmt.Sprintf("node%d", i), Incarnation: 1,
			Secret: []byte("secret"), Limits: limits, Workers: w,
		},
	}
}

func (n *node) Route(in *link.Incoming) link.Route {
	n.opens.Add(1)
	if n.onRoute != nil {
		n.onRoute()
	}
	to := int(in.Origin[15]) - 1
	if to == n.index {
		if n.newHandler != nil {
			return link.Route{Serve: func(*link.ServerCall) { panic("not to be called") }, NewHandler: n.newHandler}
		}
		return link.Route{Serve: n.serve}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	next := n.next[to]
	if next == nil {
		return link.Route{Err: connect.NewError(connect.CodeUnavailable, "no route")}
	}
	return link.Route{Next: next, Namespace: in.Namespace, Origin: in.Origin, OriginNamespace: in.OriginNamespace}
}

func (n *node) Table(t *linkv1.Table) error {
	if n.onTable != nil {
		n.onTable()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if t.GetNamespace() == "bad" {
		return errors.New("a bad table")
	}
	n.told = append(n.told, t)
	return nil
}

func (n *node) Ended(*link.Ended) {
	if n.onEnded != nil {
		n.onEnded()
	}
}

func (n *node) PullTable() (*linkv1.Table, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.tables) == 0 {
		return nil, false
	}
	t := n.tables[0]
	n.tables = n.tables[1:]
	return t, false
}

// mesh is some nodes and the links between them.
type mesh struct {
	tb     testing.TB
	scarce bool // calls may fail for want of memory
	try    bool // every connection can send without waiting; otherwise every other one
	pipe   int  // how many bytes a connection holds
	nodes  []*node
	links  []*testLink
	runs   sync.WaitGroup
}

type testLink struct {
	from, to        int // the dialler and the listener
	dialler, accept *link.Session
	near, far       *linktest.Conn
	nearEnd, farEnd error // what Run returned
}

// opens is how many calls have come in at all nodes.
func (m *mesh) opens() (n int) {
	for _, node := range m.nodes {
		n += int(node.opens.Load())
	}
	return n
}

// newMesh returns n nodes without links.
func newMesh(tb testing.TB, n int, limits link.Limits) *mesh {
	m := &mesh{tb: tb, pipe: linktest.DefaultBuffer}
	for i := range n {
		m.nodes = append(m.nodes, newNode(i, limits))
	}
	return m
}

// chain returns n nodes in a row, each linked to the next.
func chain(tb testing.TB, n int, limits link.Limits) *mesh {
	m := newMesh(tb, n, limits)
	m.linkRow()
	return m
}

// tryingChain is a chain whose connections can send without waiting.
func tryingChain(tb testing.TB, n int, limits link.Limits) *mesh {
	m := newMesh(tb, n, limits)
	m.try = true
	m.linkRow()
	return m
}

// linkRing links each node to the next and the last to the first; calls take the shorter way.
func (m *mesh) linkRing() {
	n := len(m.nodes)
	for i := range n {
		m.link(i, (i+1)%n)
	}
	for i, node := range m.nodes {
		for to := range n {
			switch ahead := (to - i + n) % n; {
			case ahead == 0:
			case ahead <= n/2:
				node.next[to] = m.session(i, (i+1)%n)
			default:
				node.next[to] = m.session(i, (i+n-1)%n)
			}
		}
	}
}

// linkRow links each node to the next.
func (m *mesh) linkRow() {
	n := len(m.nodes)
	for i := range n - 1 {
		if i%2 == 0 {
			m.link(i, i+1)
		} else {
			m.link(i+1, i)
		}
	}
	for i, node := range m.nodes {
		for to := range n {
			switch {
			case to > i:
				node.next[to] = m.session(i, i+1)
			case to < i:
				node.next[to] = m.session(i, i-1)
			}
		}
	}
}

// session returns the end at i of the link between i and j.
func (m *mesh) session(i, j int) *link.Session {
	for _, l := range m.links {
		switch {
		case l.from == i && l.to == j:
			return l.dialler
		case l.from == j && l.to == i:
			return l.accept
		}
	}
	m.tb.Fatalf("no link between %d and %d", i, j)
	return nil
}

// link links two nodes.
func (m *mesh) link(from, to int) *testLink {
	near, far := linktest.PipeSize(m.pipe)
	return m.linkOver(from, to, near, far)
}

func (m *mesh) linkOver(from, to int, near, far *linktest.Conn) *testLink {
	try := m.try || len(m.links)%2 == 1
	l, err := m.tryLink(from, to, near, far, try)
	if err != nil {
		m.tb.Fatalf("linking %d to %d: %v", from, to, err)
	}
	return l
}

// tryLink is linkOver for a connection that may fail at once, and may be able to try.
func (m *mesh) tryLink(from, to int, near, far *linktest.Conn, try bool) (*testLink, error) {
	var nearConn, farConn link.Conn = near, far
	if try {
		nearConn, farConn = linktest.NonblockingConn{Conn: near}, linktest.NonblockingConn{Conn: far}
	}
	l := &testLink{from: from, to: to, near: near, far: far}
	if err := m.linkConns(l, nearConn, farConn); err != nil {
		return nil, err
	}
	return l, nil
}

// linkConns starts l over connections that stand on its pipe.
func (m *mesh) linkConns(l *testLink, nearConn, farConn link.Conn) error {
	accepted := make(chan error, 1)
	go func() {
		var err error
		l.accept, err = link.Accept(m.tb.Context(), farConn, m.nodes[l.to].cfg,
			func(link.Peer) (*linkv1.Join, error) { return new(linkv1.Join), nil })
		accepted <- err
	}()
	var err error
	l.dialler, err = link.Dial(m.tb.Context(), nearConn, m.nodes[l.from].cfg, new(linkv1.Join))
	err = errors.Join(err, <-accepted)
	// What one end has started must end, even if the other has not.
	if l.dialler != nil {
		m.runs.Go(func() { l.nearEnd = l.dialler.Run(m.nodes[l.from]) })
	}
	if l.accept != nil {
		m.runs.Go(func() { l.farEnd = l.accept.Run(m.nodes[l.to]) })
	}
	if err != nil {
		return err
	}
	m.links = append(m.links, l)
	return nil
}

// close ends all links and waits for all that runs.
func (m *mesh) close() {
	for _, l := range m.links {
		l.dialler.Close(nil)
	}
	m.runs.Wait()
	for _, n := range m.nodes {
		n.workers.Wait()
	}
}

// open opens a call from one node to another.
func (m *mesh) open(ctx context.Context, from, to int, o link.Open) *link.ClientCall {
	m.tb.Helper()
	if o.Procedure == "" {
		o.Procedure = "/test.v1.Test/Call"
	}
	o.Namespace, o.Origin = "default", nodeID(to)
	if o.Hops == 0 {
		o.Hops = 16
	}
	n := m.nodes[from]
	if from == to {
		c := new(link.ClientCall)
		link.OpenLocal(ctx, o, c, n.cfg.Limits, n.workers, n.serve)
		return c
	}
	n.mu.Lock()
	next := n.next[to]
	n.mu.Unlock()
	c, err := next.NewCall(ctx, o)
	if err != nil {
		m.tb.Fatalf("open: %v", err)
	}
	return c
}

// shareBudgets gives each node a budget of so many bytes.
func (m *mesh) shareBudgets(size int) {
	for _, n := range m.nodes {
		n.cfg.Budget = link.NewBudget(size)
	}
}

// fill opens a stream and sends it n bytes, which its window must allow. It returns how the call has ended, nil
// if it has not.
func (m *mesh) fill(ctx context.Context, from, to, n int) (*link.ClientCall, error) {
	c := m.open(ctx, from, to, link.Open{StreamType: connect.StreamTypeBidi})
	end := make(chan error, 1)
	for ; n > 0; n -= chunk {
		_ = c.Send(make([]byte, min(n, chunk))) // Receive tells
	}
	go func() {
		_, err := c.Receive()
		end <- err
	}()
	synctest.Wait()
	select {
	case err := <-end:
		return c, err
	default:
		return c, nil
	}
}

// echo answers each message with itself.
func echo(c *link.ServerCall) {
	for {
		msg, err := c.Receive()
		switch {
		case errors.Is(err, io.EOF):
			_ = c.End(nil, nil)
			return
		case err != nil:
			_ = c.End(asError(err), nil)
			return
		}
		if err := c.Send(msg); err != nil {
			_ = c.End(asError(err), nil)
			return
		}
	}
}

// echoUnary answers a unary call with its request.
func echoUnary(c *link.ServerCall) {
	msg, err := c.Receive()
	if err != nil {
		_ = c.End(asError(err), nil)
		return
	}
	_ = c.Reply(nil, msg, nil)
}

// sendAll sends messages until it fails.
func sendAll(send func([]byte) error, size int) {
	msg := make([]byte, size)
	for err := error(nil); err == nil; {
		err = send(msg)
	}
}

func asError(err error) *connect.Error {
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return ce
	}
	return connect.NewError(connect.CodeUnknown, err.Error())
}

// unary makes a unary call and returns its reply.
func unary(c *link.ClientCall, msg []byte) ([]byte, error) {
	defer c.Close()
	if err := c.Send(msg); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	reply, err := c.Receive()
	if err != nil {
		return nil, err
	}
	reply = append([]byte(nil), reply...)
	if _, err := c.Receive(); !errors.Is(err, io.EOF) {
		return nil, err
	}
	return reply, nil
}
