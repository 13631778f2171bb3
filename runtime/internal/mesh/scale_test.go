package mesh

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"text/tabwriter"
	"time"
)

// BenchmarkScale runs simulated clusters in this process and prints what changes cost them. Each
// configuration runs once, whatever b.N is. The large ones are left out with -short.
func BenchmarkScale(b *testing.B) {
	var rows []scaleRow
	for _, shape := range []string{"ring", "tree", "random"} {
		for _, nodes := range []int{10, 100, 1000} {
			for _, functions := range []int{10, 1000} {
				switch {
				case nodes*functions >= 1_000_000:
					continue // see below
				case testing.Short() && nodes*nodes*functions > 1_000_000:
					continue
				}
				var row scaleRow
				b.Run(fmt.Sprintf("%s/nodes=%d/functions=%d", shape, nodes, functions), func(b *testing.B) {
					if row.nodes == 0 {
						row = scale(b, shape, nodes, functions)
						rows = append(rows, row)
					}
					b.ReportMetric(float64(row.register.bytes), "B/registration")
					b.ReportMetric(row.reroute.Seconds()*1e6, "µs/reroute")
				})
			}
		}
	}
	if !testing.Short() {
		var row scaleRow
		b.Run("star/nodes=1000/functions=1000", func(b *testing.B) {
			if row.nodes == 0 {
				row = scaleOne(b, 1000, 1000)
				rows = append(rows, row)
			}
		})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nshape\tnodes\tfunctions each\tlinks\tconverge: rounds\ttables\tMB\tms a node\t"+
		"register: tables\tbytes\tB a table\tµs a node\tlink lost: records\ttables\tkB\tµs a node\t"+
		"restart: tables\tkB\tµs a node\treroute µs\tMB a node\t")
	for _, r := range rows {
		r.print(w)
	}
	w.Flush()
	fmt.Println("star: a million functions do not fit a thousand times into one process, so only one node and the\n" +
		"hub that it links to are run to the end; tables, bytes and times are those of the node.")
}

type scaleRow struct {
	shape                               string
	nodes, functions, links             int
	converge, register, lose, restarted cost
	reroute                             time.Duration
	memory                              float64
}

type cost struct {
	stats
	rounds int
	took   time.Duration
}

func (r scaleRow) print(w *tabwriter.Writer) {
	per := func(c cost) float64 { return float64(c.took.Microseconds()) / float64(r.nodes) }
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%d\t%d\t%.0f\t%.1f\t%d\t%d\t%.1f\t%.1f\t%d\t%.1f\t%.1f\t%d\t%.2f\t\n",
		r.shape, r.nodes, r.functions, r.links,
		r.converge.rounds, r.converge.tables, float64(r.converge.bytes)/1e6, per(r.converge)/1e3,
		r.register.tables, r.register.bytes, float64(r.register.bytes)/float64(max(1, r.register.tables)), per(r.register),
		r.lose.records, r.lose.tables, float64(r.lose.bytes)/1e3, per(r.lose),
		r.restarted.tables, float64(r.restarted.bytes)/1e3, per(r.restarted),
		r.reroute.Microseconds(), r.memory)
}

// scale measures one configuration.
func scale(b *testing.B, shape string, nodes, functions int) scaleRow {
	before := heap()
	c := newCluster(b)
	c.share = true
	row := scaleRow{shape: shape, nodes: nodes, functions: functions}
	for i := range nodes {
		n := c.add(fmt.Sprintf("node%04d", i))
		n.declare("default")
		c.must(n.register("default", procedures(i, functions)...))
	}
	c.settle()
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, e := range edgesOf(shape, nodes, rnd) {
		c.link(c.nodes[e[0]], c.nodes[e[1]], "default")
	}
	row.links = len(c.links)
	row.converge = c.measure(func() {})
	row.memory = float64(heap()-before) / float64(nodes) / 1e6
	row.register = c.measure(func() { c.must(c.nodes[nodes/2].register("default", "/scale.Late/Method")) })
	l := c.links[len(c.links)/2]
	row.lose = c.measure(func() { c.cut(l, "lost") })
	c.link(l.ends[0], l.ends[1], "default")
	c.settle()
	row.restarted = c.measure(func() { c.restart(c.nodes[nodes/3], functions) })
	row.reroute = c.nodes[0].reroute()
	runtime.KeepAlive(c)
	return row
}

// scaleOne measures one node of a star: it links to a hub that the others have told all about
// themselves, but that has told them nothing.
func scaleOne(b *testing.B, nodes, functions int) scaleRow {
	c := newCluster(b)
	c.share = true
	hub := c.add("hub")
	hub.declare("default")
	var last *simLink
	for i := range nodes - 2 {
		leaf := c.add(fmt.Sprintf("node%04d", i))
		leaf.declare("default")
		c.must(leaf.register("default", procedures(i, functions)...))
		last = c.link(leaf, hub, "default")
		for range 5 { // what the hub has, and its answer to what the leaf has
			for c.pull(last, 0) {
			}
			c.pull(last, 1)
			for i := range last.ends {
				for len(last.wire[i]) > 0 {
					c.deliver(last, i)
				}
			}
		}
		for c.pull(last, 0) {
			c.deliver(last, 0)
		}
	}
	c.nodes = []*simNode{hub, c.add("node")}
	links := c.links
	c.links = nil
	node := c.nodes[1]
	node.declare("default")
	row := scaleRow{shape: "star", nodes: nodes, functions: functions, links: nodes - 1}
	before := heap()
	c.link(node, hub, "default")
	row.converge = c.measure(func() {})
	row.memory = float64(heap()-before) / 1e6
	row.register = c.measure(func() { c.must(node.register("default", "/scale.Late/Method")) })
	row.lose = c.measure(func() { hub.core.LinkDown(c.now, links[0].id, Cause{Text: "lost"}) })
	row.restarted = c.measure(func() { c.restart(node, functions) })
	row.reroute = node.reroute()
	for _, k := range []*cost{&row.converge, &row.register, &row.lose, &row.restarted} {
		k.took *= time.Duration(nodes) // it is printed for each node
	}
	runtime.KeepAlive(c)
	return row
}

// procedures returns the names of a node's functions.
func procedures(node, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("/scale.node%04d.v1.Service/Method%04d", node, i)
	}
	return names
}

// measure does something, lets the cluster settle and returns what that cost all of it.
func (c *cluster) measure(do func()) cost {
	c.stats = stats{}
	start := time.Now()
	do()
	rounds := c.settle()
	return cost{c.stats, rounds, time.Since(start)}
}

// restart starts a node again, with its links and functions.
func (c *cluster) restart(n *simNode, functions int) {
	var peers []*simNode
	for _, l := range append([]*simLink(nil), c.links...) {
		if l.ends[0] == n || l.ends[1] == n {
			peers = append(peers, l.ends[1-l.end(n)])
			c.cut(l, "restart")
		}
	}
	c.now = c.now.Add(time.Second)
	n.boot(false)
	n.declare("default")
	c.must(n.register("default", procedures(7, functions)...))
	for _, p := range peers {
		c.link(n, p, "default")
	}
}

// reroute returns how long it takes to find all routes, the fastest of ten times.
func (n *simNode) reroute() time.Duration {
	best := time.Hour
	d := n.core.namespaces["default"].domain
	for range 10 {
		start := time.Now()
		d.routesDirty = true
		n.core.dirty = true
		n.core.Snapshot()
		best = min(best, time.Since(start))
	}
	return best
}

// edgesOf returns the links of a connected graph.
func edgesOf(shape string, nodes int, rnd *rand.Rand) (edges [][2]int) {
	for i := 1; i < nodes; i++ {
		switch shape {
		case "tree":
			edges = append(edges, [2]int{i, (i - 1) / 2})
		default:
			edges = append(edges, [2]int{i, i - 1})
		}
	}
	if shape == "ring" {
		edges = append(edges, [2]int{0, nodes - 1})
	}
	if shape == "random" { // a path through all, and as many links again: a mean degree of 4
		for range nodes {
			if a, b := rnd.IntN(nodes), rnd.IntN(nodes); a != b {
				edges = append(edges, [2]int{a, b})
			}
		}
	}
	return edges
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
