package mesh

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// id returns the id of the node of a name, as simulated nodes have it.
func id(name string) []byte {
	var id nodeid.ID
	copy(id[:], name)
	return id[:]
}

// pair is a node that is under test and one that is linked to it, at rest.
func pair(t testing.TB, limits Limits) (c *cluster, n *simNode, l *simLink) {
	c = newCluster(t)
	n, peer := c.add("node"), c.add("peer")
	n.core.cfg.Limits = limits.withDefaults()
	n.declare("default")
	peer.declare("default")
	c.must(n.register("default", "/t.Node/Get"))
	c.must(peer.register("default", "/t.Peer/Get"))
	l = c.link(n, peer, "default")
	c.settle()
	return c, n, l
}

func TestReceiveRefuses(t *testing.T) {
	record := func(change func(*linkv1.Record)) *linkv1.Table {
		r := &linkv1.Record{
			Node: id("evil"), Incarnation: 1, Version: 3, About: &linkv1.About{At: 1, Info: &linkv1.NodeInfo{Name: "evil"}},
			Neighbours: []*linkv1.Neighbour{{At: 2, Node: id("node"), Cost: 1}},
			Functions:  []*linkv1.Function{{At: 3, Procedure: "/t.Evil/Get", Registered: 1}},
		}
		change(r)
		return &linkv1.Table{Namespace: "default", Records: []*linkv1.Record{r}}
	}
	limits := Limits{Members: 4, Neighbours: 3, MemberFunctions: 5, Functions: 7, Addresses: 2, Metadata: 2, InfoBytes: 100, SchemaBytes: 8, Fits: 2}
	tests := map[string]struct {
		table *linkv1.Table
		limit bool // the error is a *LimitError, where a node tells it of itself; of others it is skipped
	}{
		"a namespace that is not carried": {table: &linkv1.Table{Namespace: "secret"}},
		"tables seen that were not sent":  {table: &linkv1.Table{Namespace: "default", Seen: 1000}},
		"a short key":                     {table: record(func(r *linkv1.Record) { r.Key = make([]byte, 31) })},
		"a neighbour with a short key":    {table: record(func(r *linkv1.Record) { r.Neighbours[0].Key = make([]byte, 1) })},
		"another's key": {table: record(func(r *linkv1.Record) {
			r.Node, r.Key = id("peer"), make([]byte, 32)
		})},
		"a claim for nobody":             {table: &linkv1.Table{Namespace: "default", Claims: []*linkv1.Claim{{}}}},
		"a claim with a long key":        {table: &linkv1.Table{Namespace: "default", Claims: []*linkv1.Claim{{Node: id("x"), Key: make([]byte, 33)}}}},
		"a short id":                     {table: record(func(r *linkv1.Record) { r.Node = r.Node[:15] })},
		"a bad namespace":                {table: record(func(r *linkv1.Record) { r.Namespace = "no/good" })},
		"no version":                     {table: record(func(r *linkv1.Record) { r.Version = 0 })},
		"a version without room":         {table: record(func(r *linkv1.Record) { r.Version = 1 << 63 })},
		"an incarnation without room":    {table: record(func(r *linkv1.Record) { r.Incarnation = 1 << 63 })},
		"since after version":            {table: record(func(r *linkv1.Record) { r.Since = 4 })},
		"an item of no version":          {table: record(func(r *linkv1.Record) { r.Functions[0].At = 0 })},
		"an item of a later version":     {table: record(func(r *linkv1.Record) { r.About.At = 4 })},
		"an ask of a later version":      {table: record(func(r *linkv1.Record) { r.Ask = &linkv1.Ask{At: 4} })},
		"a neighbour of a later version": {table: record(func(r *linkv1.Record) { r.Neighbours[0].At = 9 })},
		"a neighbour with a long id":     {table: record(func(r *linkv1.Record) { r.Neighbours[0].Node = make([]byte, 17) })},
		"a link that costs nothing":      {table: record(func(r *linkv1.Record) { r.Neighbours[0].Cost = 0 })},
		"a bridge to nowhere":            {table: record(func(r *linkv1.Record) { r.Bridges = []*linkv1.Bridge{{At: 1}} })},
		"a bridge of a later version": {table: record(func(r *linkv1.Record) {
			r.Bridges = []*linkv1.Bridge{{At: 4, Namespace: "x"}}
		})},
		"a procedure that is none":  {table: record(func(r *linkv1.Record) { r.Functions[0].Procedure = "Get" })},
		"a long procedure":          {table: record(func(r *linkv1.Record) { r.Functions[0].Procedure = "/t.S/" + strings.Repeat("x", 600) })},
		"a stream type beyond":      {table: record(func(r *linkv1.Record) { r.Functions[0].StreamType = 256 })},
		"a policy beyond":           {table: record(func(r *linkv1.Record) { r.Functions[0].Policy = -1 })},
		"a derivation of nobody's":  {table: record(func(r *linkv1.Record) { r.Functions[0].Derivation = up })},
		"a digest of two":           {table: &linkv1.Table{Namespace: "default", Digest: &linkv1.Digest{Sums: []uint64{1, 2}}}},
		"a summary with a short id": {table: &linkv1.Table{Namespace: "default", Summary: &linkv1.Summary{Entries: []*linkv1.Entry{{}}}}},
		"an ack for nobody":         {table: &linkv1.Table{Namespace: "default", Acks: []*linkv1.Seen{{}}}},
		"an ack of nobody": {table: &linkv1.Table{
			Namespace: "default", Acks: []*linkv1.Seen{{Node: id("node"), Members: []*linkv1.Member{{}}}},
		}},

		"many entries": {limit: true, table: &linkv1.Table{Namespace: "default", Summary: &linkv1.Summary{
			Entries: []*linkv1.Entry{{Node: id("a")}, {Node: id("b")}, {Node: id("c")}, {Node: id("d")}, {Node: id("e")}},
		}}},
		"many neighbours": {limit: true, table: record(func(r *linkv1.Record) {
			for i := range 4 {
				r.Neighbours = append(r.Neighbours, &linkv1.Neighbour{At: 1, Node: id(fmt.Sprint(i)), Cost: 1})
			}
		})},
		"many functions of one": {limit: true, table: record(func(r *linkv1.Record) {
			for i := range 5 {
				r.Functions = append(r.Functions, &linkv1.Function{At: 1, Procedure: fmt.Sprintf("/t.S/F%d", i)})
			}
		})},
		"many addresses": {limit: true, table: record(func(r *linkv1.Record) { r.About.Info.Addresses = make([]string, 3) })},
		"much metadata":  {limit: true, table: record(func(r *linkv1.Record) { r.About.Info.Metadata = map[string]string{"a": "", "b": "", "c": ""} })},
		"a long name":    {limit: true, table: record(func(r *linkv1.Record) { r.About.Info.Name = strings.Repeat("n", 101) })},
		"a long schema":  {limit: true, table: record(func(r *linkv1.Record) { r.Functions[0].Schema = make([]byte, 9) })},
		"many fits":      {limit: true, table: record(func(r *linkv1.Record) { r.Functions[0].Fits = make([][]byte, 3) })},
		"a long fit":     {limit: true, table: record(func(r *linkv1.Record) { r.Functions[0].Fits = [][]byte{nil, make([]byte, 9)} })},
		"fits of what is gone": {limit: true, table: record(func(r *linkv1.Record) {
			r.Functions[0].Removed, r.Functions[0].Fits = true, make([][]byte, 3)
		})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, n, l := pair(t, limits)
			before := n.core.Snapshot()
			if test.limit {
				refusesOwn(t, n, l, test.table)
			} else if err, ok := errors.AsType[*ProtocolError](n.core.Receive(c.now, l.id, test.table)); !ok {
				t.Errorf("error %v", err)
			}
			if n.core.Snapshot() != before {
				t.Error("something of it was taken in")
			}
		})
	}
	t.Run("what is right", func(t *testing.T) {
		c, n, l := pair(t, limits)
		if err := n.core.Receive(c.now, l.id, record(func(*linkv1.Record) {})); err != nil {
			t.Error(err)
		}
	})
}

// refusesOwn checks that what is too much costs a node the link if it tells that of itself, and otherwise nothing
// but being skipped.
func refusesOwn(t *testing.T, n *simNode, l *simLink, table *linkv1.Table) {
	if len(table.Records) > 0 {
		n.core.Events()
		if err := n.core.Receive(n.c.now, l.id, table); err != nil {
			t.Errorf("told of another: %v", err)
		}
		events := n.core.Events()
		if len(events) != 1 || events[0].Kind != RecordsDropped || events[0].Count != 1 || events[0].Name != "peer" {
			t.Errorf("told of another: events %v", events)
		}
		peer := l.ends[1-l.end(n)]
		table.Records[0].Node, table.Records[0].Key = id(peer.name), peer.core.cfg.Key
		table.Records[0].Incarnation = peer.started
	}
	if err, ok := errors.AsType[*LimitError](n.core.Receive(n.c.now, l.id, table)); !ok {
		t.Errorf("told of itself: %v", err)
	}
}

// hoard is a record with n functions.
func hoard(name string, n int) *linkv1.Record {
	r := &linkv1.Record{Node: id(name), Incarnation: 1, Version: uint64(n)}
	for i := range n {
		r.Functions = append(r.Functions, &linkv1.Function{At: uint64(i + 1), Procedure: fmt.Sprintf("/t.%s/F%d", name, i)})
	}
	return r
}

// TestProxyTellsNothing cuts off a proxy that tells of members.
func TestProxyTellsNothing(t *testing.T) {
	c := newCluster(t)
	n, p := c.add("node"), c.start("proxy", true)
	n.declare("default")
	p.declare("default")
	l := c.link(p, n, "default")
	c.settle()
	err := n.core.Receive(c.now, l.id, &linkv1.Table{Namespace: "default", Records: []*linkv1.Record{hoard("proxy", 1)}})
	if e := new(ProtocolError); !errors.As(err, &e) {
		t.Errorf("error %v", err)
	}
	if got := len(n.core.namespaces["default"].domain.byVertex); got != 1 {
		t.Errorf("the node knows %d members", got)
	}
}

// TestOwnRecordIsNotBelieved tells a node lies about itself: it supersedes them everywhere.
func TestOwnRecordIsNotBelieved(t *testing.T) {
	for name, lie := range map[string]*linkv1.Record{
		"a later version":     {Version: 900, Since: 1},
		"a later incarnation": {Version: 2, Incarnation: 1 << 61},
		"the last version":    {Version: 1 << 62},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			n, peer, far := c.add("node"), c.add("peer"), c.add("far")
			for _, n := range c.nodes {
				n.declare("default")
			}
			c.must(n.register("default", "/t.Node/Get"))
			c.link(n, peer, "default")
			l := c.link(peer, far, "default")
			c.settle()
			lie.Node = id("node")
			if lie.Incarnation == 0 {
				lie.Incarnation = n.started
			}
			lie.Functions = []*linkv1.Function{{At: lie.Version - lie.Since, Procedure: "/t.Node/Lie"}}
			far.core.links[l.id].domains[0].tablesSent++ // as far as the peer can tell
			c.must(peer.core.Receive(c.now, l.id, &linkv1.Table{Namespace: "default", Records: []*linkv1.Record{lie}}))
			c.settle()
			for _, from := range c.nodes {
				if _, ok := from.core.Snapshot().Find("default", "/t.Node/Lie"); ok {
					t.Errorf("%s believes it", from.name)
				}
				if _, at, _, err := c.call(from, "default", "/t.Node/Get"); err != nil || at != n {
					t.Errorf("%s: %v", from.name, err)
				}
			}
		})
	}
}

// TestLimitsHere applies bounds to what this node itself declares and registers.
func TestLimitsHere(t *testing.T) {
	c := newCluster(t)
	n := c.add("node")
	n.core.cfg.Limits = Limits{Namespaces: 3, MemberFunctions: 2}.withDefaults()
	limit := new(LimitError)
	n.declare("one")
	if err := n.core.DeclareGroup(c.now, "all", []string{"one", "two", "three"}, false); !errors.As(err, &limit) {
		t.Errorf("a group of too many: %v", err)
	}
	if n.core.namespaces["two"] != nil || n.core.namespaces["all"] != nil {
		t.Error("half of the group was declared")
	}
	c.must(n.core.DeclareGroup(c.now, "all", []string{"one", "two"}, false))
	if err := n.core.Declare(c.now, "four"); !errors.As(err, &limit) {
		t.Errorf("a namespace too many: %v", err)
	}
	c.must(n.register("two", "/t.S/A"))
	if err := n.register("all", "/t.S/B", "/t.S/C"); !errors.As(err, &limit) {
		t.Errorf("too many functions: %v", err)
	}
	if _, ok := n.core.Snapshot().Find("one", "/t.S/B"); ok {
		t.Error("one member of the group took what the other refused")
	}
}

func TestDeclareErrors(t *testing.T) {
	c := newCluster(t)
	n := c.add("node")
	n.declare("one")
	c.must(n.core.DeclareGroup(c.now, "all", []string{"one", "two"}, false))
	c.must(n.core.DeclareGroup(c.now, "all", []string{"one", "two"}, false))
	c.must(n.core.Declare(c.now, "all"))
	for what, err := range map[string]error{
		"a bad namespace":        n.core.Declare(c.now, "no good"),
		"a bad group":            n.core.DeclareGroup(c.now, "no good", []string{"one"}, false),
		"a bad member":           n.core.DeclareGroup(c.now, "some", []string{"no good"}, false),
		"no members":             n.core.DeclareGroup(c.now, "some", nil, false),
		"itself as member":       n.core.DeclareGroup(c.now, "some", []string{"some"}, false),
		"a member twice":         n.core.DeclareGroup(c.now, "some", []string{"one", "one"}, false),
		"a group in a group":     n.core.DeclareGroup(c.now, "some", []string{"all"}, false),
		"a namespace as a group": n.core.DeclareGroup(c.now, "one", []string{"two"}, false),
		"other members":          n.core.DeclareGroup(c.now, "all", []string{"two", "one"}, false),
		"bridged now":            n.core.DeclareGroup(c.now, "all", []string{"one", "two"}, true),
		"a bad procedure":        n.register("one", "Get"),
		"a procedure twice":      n.register("one", "/t.S/A", "/t.S/A"),
	} {
		if e := new(NameError); !errors.As(err, &e) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if e := new(UndeclaredError); !errors.As(n.register("two-and-a-half", "/t.S/A"), &e) {
		t.Error("registered in a namespace that was not declared")
	}
}
