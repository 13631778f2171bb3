package mesh

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

var update = flag.Bool("update", false, "rewrite the expected lines of testdata/*.txt")

// TestScripts runs the accounts in testdata. A line that starts in the first column is a comment or
// a command of script.commands; what is indented below it is what must come of it.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// script is a cluster that a file tells what to do.
type script struct {
	*cluster
	t   *testing.T
	out strings.Builder
}

func runScript(t *testing.T, text string) string {
	s := &script{cluster: newCluster(t), t: t}
	for line := range strings.Lines(text) {
		switch line = strings.TrimRight(line, "\n"); {
		case strings.HasPrefix(line, " "):
			continue
		case line == "" || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&s.out, line)
		default:
			fmt.Fprintln(&s.out, line)
			s.now = s.now.Add(time.Second)
			args := strings.Fields(line)
			do := s.commands()[args[0]]
			if do == nil {
				t.Fatalf("no command %s", args[0])
			}
			do(args[1:])
		}
	}
	return s.out.String()
}

// sayf adds a line of what came of a command.
func (s *script) sayf(format string, args ...any) {
	fmt.Fprintf(&s.out, "    %s\n", strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

func (s *script) commands() map[string]func(args []string) {
	return map[string]func(args []string){
		"nodes":      s.nodesUp,    // NAME...
		"proxy":      s.proxy,      // NAME NAMESPACE
		"declare":    s.declare,    // NODE NAMESPACE...
		"group":      s.group,      // NODE NAME MEMBER... [bridged]
		"register":   s.register,   // NODE NAMESPACE PROCEDURE [POLICY [SCHEMA]]
		"fit":        s.fit,        // NODE NAMESPACE PROCEDURE SCHEMA: what is registered there can stand in for that
		"unregister": s.unregister, // NODE NAMESPACE PROCEDURE
		"link":       s.linkUp,     // DIALLER LISTENER NAMESPACE...
		"cut":        s.linkCut,    // A B [CAUSE...]: and settle
		"leave":      s.leave,      // NODE: goodbye, and its links down
		"drain":      s.drain,      // NODE: it says that it is about to go, its links stay up
		"restart":    s.restart,    // NODE NAMESPACE...: its links down, a later incarnation without functions
		"revive":     s.revive,     // NODE BEFORE NAMESPACE...: as restart, but its clock is before now by so much
		"twin":       s.twin,       // NODE OTHER: starts anew with the name and id of the other
		"wait":       s.wait,       // DURATION: in which all do what is due
		"settle":     s.settled,    // all that is to be told is told; says how much that was
		"functions":  s.functions,  // NODE NAMESPACE
		"members":    s.members,    // NODE
		"route":      s.route,      // NODE NAMESPACE PROCEDURE...: the way of a call, or why there is none
		"events":     s.showEvents, // NODE: since the last time
		"watch":      s.watch,      // NODE NAMESPACE: events of functions too
		"visible":    s.visible,    // NODE NAMESPACE: whether all have seen it
		"known":      s.known,      // NODE NAMESPACE: the records that are kept, in reach or not
	}
}

func (s *script) nodesUp(args []string) {
	for _, name := range args {
		s.add(name)
	}
}

func (s *script) proxy(args []string) { s.start(args[0], true).declare(args[1]) }

func (s *script) declare(args []string) { s.node(args[0]).declare(args[1:]...) }

func (s *script) group(args []string) {
	members := slices.Clone(args[2:])
	bridged := members[len(members)-1] == "bridged"
	if bridged {
		members = members[:len(members)-1]
	}
	s.try(s.node(args[0]).core.DeclareGroup(s.now, args[1], members, bridged))
}

func (s *script) try(err error) {
	if err != nil {
		s.sayf("%v", err)
	}
}

func (s *script) register(args []string) {
	f := Function{Procedure: args[2]}
	if len(args) > 3 {
		for f.Policy.String() != args[3] {
			f.Policy++
		}
	}
	if len(args) > 4 {
		f.Schema = []byte(args[4])
	}
	s.try(s.node(args[0]).core.Register(s.now, args[1], []Function{f}))
}

func (s *script) fit(args []string) {
	n := s.node(args[0])
	n.core.Fit(s.now, args[1], args[2], n.schemaOf(args[1], args[2]), []byte(args[3]))
}

func (s *script) unregister(args []string) {
	s.node(args[0]).core.Unregister(s.now, args[1], args[2:])
}

func (s *script) linkUp(args []string) {
	_, err := s.tryLink(s.node(args[0]), s.node(args[1]), args[2:]...)
	s.try(err)
}

func (s *script) linkCut(args []string) {
	for _, l := range s.between(s.node(args[0]), s.node(args[1])) {
		s.cut(l, strings.Join(args[2:], " "))
	}
	s.settle()
}

func (s *script) down(n *simNode, cause Cause) {
	for _, l := range slices.Clone(s.cluster.links) {
		if l.ends[0] == n || l.ends[1] == n {
			s.cutFor(l, cause)
		}
	}
}

func (s *script) leave(args []string) {
	n := s.node(args[0])
	n.core.Leave(s.now)
	s.settle()
	s.down(n, Cause{Text: "goodbye", Goodbye: true})
	s.settle()
}

func (s *script) drain(args []string) { s.node(args[0]).core.Leave(s.now) }

func (s *script) restart(args []string) {
	n := s.node(args[0])
	s.down(n, Cause{Text: "reset"})
	n.boot(false)
	n.declare(args[1:]...)
}

func (s *script) twin(args []string) { s.node(args[0]).bootAs(args[1], false) }

func (s *script) revive(args []string) {
	back, err := time.ParseDuration(args[1])
	s.must(err)
	n := s.node(args[0])
	s.down(n, Cause{Text: "reset"})
	s.now = s.now.Add(-back)
	n.boot(false)
	s.now = s.now.Add(back)
	n.declare(args[2:]...)
}

func (s *script) wait(args []string) {
	d, err := time.ParseDuration(args[0])
	s.must(err)
	for ; d > 0; d -= DigestInterval {
		s.advance(min(d, DigestInterval))
		s.settle()
	}
}

func (s *script) settled([]string) {
	s.stats = stats{}
	s.settle()
	s.sayf("%d tables with %d records", s.stats.tables, s.stats.records)
}

func (s *script) functions(args []string) {
	snapshot := s.node(args[0]).core.Snapshot()
	for f := range snapshot.Functions(args[1]) {
		line := fmt.Sprintf("%s at %s", f.Function.Procedure, s.nameOf(f.Node))
		if f.Via != f.Node {
			line += " by way of " + s.nameOf(f.Via)
		}
		switch {
		case f.Local:
			line += ", here"
		default:
			line += fmt.Sprintf(", %d hops", f.Hops)
		}
		if f.Function.Policy != PolicySingle {
			line += ", " + f.Function.Policy.String()
		}
		if len(f.Function.Schema) > 0 {
			line += ", " + string(f.Function.Schema)
		}
		if f.Shadowed {
			line += ", shadowed"
		}
		if f.Incompatible {
			line += ", incompatible"
		}
		s.sayf("%s", line)
	}
}

func (s *script) nameOf(id nodeid.ID) string {
	for _, n := range s.cluster.nodes {
		if n.core.cfg.ID == id {
			return n.name
		}
	}
	return id.Short()
}

func (s *script) members(args []string) {
	for m := range s.node(args[0]).core.Snapshot().Members() {
		var parts []string
		for _, ns := range m.Namespaces {
			var neighbours []string
			for _, n := range ns.Neighbours {
				neighbours = append(neighbours, s.nameOf(n.ID))
			}
			parts = append(parts, fmt.Sprintf("%s(%s)", ns.Namespace, strings.Join(neighbours, " ")))
		}
		s.sayf("%s %s", m.Info.GetName(), strings.Join(parts, " "))
	}
}

func (s *script) route(args []string) {
	n := s.node(args[0])
	for _, p := range args[2:] {
		choice, ok := n.core.Snapshot().Find(args[1], p)
		if !ok {
			s.absent(n, args[1], p)
			continue
		}
		for _, t := range choice.Targets {
			path, at, in, err := s.follow(n, t, p)
			if err != nil {
				s.sayf("%v", err)
				continue
			}
			s.sayf("%s (%s/%s)", strings.Join(path, " > "), at.name, in)
		}
	}
}

func (s *script) absent(n *simNode, ns, p string) {
	a := n.core.Snapshot().Absent(ns, p)
	if !a.Seen {
		s.sayf("never seen")
		return
	}
	s.sayf("gone %v ago from %s: %s", s.now.Sub(a.Withdrawn), a.Name, a.Cause)
}

var eventNames = map[EventKind]string{
	MemberJoined: "joined", MemberLeft: "left", MemberLost: "lost", MemberChanged: "changed", FunctionAdded: "function added",
	FunctionWithdrawn: "function withdrawn", FunctionShadowed: "function shadowed", LinkSynced: "link synced",
	FunctionIncompatible: "function incompatible", FunctionDiffers: "function differs",
	NodeDisputed: "disputed", RecordsDropped: "records dropped",
}

func (s *script) showEvents(args []string) {
	n := s.node(args[0])
	s.collect()
	for _, e := range n.events {
		if e.Kind == LinkKnown {
			continue // with LinkSynced, as no end here acknowledges
		}
		line := fmt.Sprintf("%s: %s %s", e.Namespace, eventNames[e.Kind], e.Name)
		if e.Namespace == "" {
			line = line[2:]
		}
		if e.Procedure != "" {
			line += " " + e.Procedure
		}
		if e.Kind == FunctionWithdrawn && e.Callable {
			line += ", still callable"
		}
		if e.OwnerName != "" {
			line += " by " + e.OwnerName
		}
		if len(e.Schema) > 0 {
			line += ", whose schema is " + string(e.Schema)
		}
		if e.Cause != "" {
			line += ": " + e.Cause
		}
		s.sayf("%s", line)
	}
	n.events = nil
}

func (s *script) watch(args []string) { s.node(args[0]).core.WatchFunctions(args[1], true) }

func (s *script) visible(args []string) {
	n := s.node(args[0])
	token, err := n.core.WantVisible(s.now, args[1])
	if err != nil {
		s.sayf("%v", err)
		return
	}
	before := n.core.Visible(token)
	s.stats = stats{}
	s.settle()
	s.sayf("%v, after %d tables %v", before, s.stats.tables, n.core.Visible(token))
	n.core.Release(s.now, token)
	s.settle()
}

func (s *script) known(args []string) {
	var names []string
	for v, r := range s.node(args[0]).core.namespaces[args[1]].domain.byVertex {
		reach := ""
		if !r.path.reached {
			reach = " (out of reach)"
		}
		names = append(names, s.nameOf(v.node)+"/"+v.ns+reach)
	}
	slices.Sort(names)
	s.sayf("%s", strings.Join(names, ", "))
}
