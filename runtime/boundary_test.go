package rpcmesh_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// The tests of this file are about what a peer can reach by a link: what the link carries, and nothing else,
// whatever it says and whichever end dialled.

// estate is what an intruder is let into by the namespace public, and what else there is.
type estate struct {
	*rpcmeshtest.Cluster
	log lockedBuffer
	ran atomic.Int32 // handlers outside of public
}

// procedures of an estate: in public at the node a, in private at a and at b behind it.
const (
	publicHere   = "/test.v1.Public/Here"
	privateHere  = "/test.v1.Private/Here"
	privateThere = "/test.v1.Private/There"
	inOther      = "/test.v1.Other/Here"
)

func newEstate(t testing.TB, c *rpcmeshtest.Cluster) *estate {
	t.Helper()
	e := &estate{Cluster: c}
	secret := func(procedure string) connect.Method {
		return unary(connect.Spec{Procedure: procedure}, func(context.Context, string) (string, error) {
			e.ran.Add(1)
			return "", nil
		})
	}
	a := c.Node("a", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&e.log, nil)) })
	c.Node("b")
	c.Link("b", "a", "private", "other")
	c.Node("c")
	c.Link("c", "a", "all") // as a plain namespace, so that a has a domain of that name
	group(t, a, "both", []string{"private", "other"})
	mustRegister(t, a.Namespace("public"), work(publicHere, "here"))
	mustRegister(t, a.Namespace("private"), secret(privateHere))
	mustRegister(t, c.Node("b").Namespace("private"), secret(privateThere))
	mustRegister(t, a.Namespace("other"), secret(inOther))
	synctest.Wait()
	return e
}

// outside are names that no intruder's link carries: namespaces and groups of the node, and none.
var outside = []string{"private", "other", "all", "both", "default", "nowhere", "", strings.Repeat("x", 200)}

// entrances are the ways in which an intruder gets its link, which carries public or nothing that calls can name.
var entrances = []struct {
	name string
	open func(t *testing.T, c *rpcmeshtest.Cluster) *intruder
	// sealed: no call at all comes in, as the other end is a proxy.
	sealed bool
}{
	{"it dials", func(t *testing.T, c *rpcmeshtest.Cluster) *intruder {
		return intrude(t, c, "a", false, plain("public")...)
	}, false},
	{"it is dialled", func(t *testing.T, c *rpcmeshtest.Cluster) *intruder {
		there := awaitDialler(t, c, plain("public", "private", "both")...)
		if _, err := c.Node("a").Link(rpcmeshtest.URL("intruder"), "public"); err != nil {
			t.Fatal(err)
		}
		return <-there
	}, false},
	{"it is a proxy", func(t *testing.T, c *rpcmeshtest.Cluster) *intruder {
		return intrude(t, c, "a", true, plain("public")...)
	}, false},
	{"it shares one member of a group", func(t *testing.T, c *rpcmeshtest.Cluster) *intruder {
		group(t, c.Node("a"), "mixed", []string{"public", "private"})
		return intrude(t, c, "a", false, &linkv1.LinkNamespace{Name: "mixed", Members: []string{"public"}})
	}, false},
	{"it is dialled by a proxy", func(t *testing.T, c *rpcmeshtest.Cluster) *intruder {
		there := awaitDialler(t, c, plain("public", "private")...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		dialled := make(chan struct{})
		go func() {
			defer close(dialled)
			_, err := rpcmesh.Dial(ctx, rpcmeshtest.URL("intruder"), rpcmesh.ProxyConfig{
				Namespace: "public", Secret: rpcmeshtest.Secret, Dial: c.Dialer("p"),
			})
			if err == nil {
				t.Error("an exchange of tables that never was is done")
			}
		}()
		t.Cleanup(func() {
			cancel()
			<-dialled
		})
		return <-there
	}, true},
}

// everyEntrance runs test for each of the entrances, in a bubble and with an estate of its own.
func everyEntrance(t *testing.T, test func(t *testing.T, e *estate, in *intruder, sealed bool)) {
	t.Helper()
	for _, entrance := range entrances {
		t.Run(entrance.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				e := newEstate(t, c)
				in := entrance.open(t, c)
				synctest.Wait()
				test(t, e, in, entrance.sealed)
				if n := e.ran.Load(); n != 0 {
					t.Errorf("%d handlers ran outside of public", n)
				}
			})
		})
	}
}

// reservedProcedures returns those that nodes serve by themselves: of every service of the project's packages
// that is no user's.
func reservedProcedures(t testing.TB) (procedures []string) {
	for file := range protoregistry.GlobalFiles.RangeFiles {
		if !strings.HasPrefix(string(file.Package()), "rpcmesh.") {
			continue
		}
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				procedures = append(procedures, "/"+string(methods.Get(j).Parent().FullName())+"/"+string(methods.Get(j).Name()))
			}
		}
	}
	if len(procedures) < 2 {
		t.Fatalf("only %v: where are the services?", procedures)
	}
	return procedures
}

// TestCallsStayInTheirLink: a call that names a namespace which its link does not carry is refused by the same
// words whatever is there, and runs nothing, here or behind the node.
func TestCallsStayInTheirLink(t *testing.T) {
	procedures := append(reservedProcedures(t), publicHere, privateHere, privateThere, inOther, "/test.v1.No/Where", "")
	everyEntrance(t, func(t *testing.T, e *estate, in *intruder, sealed bool) {
		names := outside
		if sealed {
			names = append([]string{"public"}, outside...)
		}
		told := map[string]bool{}
		for _, name := range names {
			for _, procedure := range procedures {
				for _, origin := range [][]byte{idOf(e.Node("a")), idOf(e.Node("b")), make([]byte, 16), nil} {
					for _, at := range append([]string{"public"}, outside...) {
						end := in.opens(&linkv1.Open{
							Namespace: name, Procedure: procedure, Origin: origin, OriginNamespace: at, StreamType: kindOf(procedure),
							Headers: &linkv1.Headers{Headers: []*linkv1.Header{{Key: "rpcmesh-procedure", Values: [][]byte{[]byte(privateHere)}}}},
						}, 64)
						if codeOfEnd(end) != connect.CodePermissionDenied || end.GetFailure().GetCertainty() != notStarted {
							t.Fatalf("%.20q at %.20q of %q: %v", name, at, procedure, end)
						}
						told[withoutName(end.GetMessage(), shown(name))] = true
					}
				}
			}
		}
		if len(told) != 1 {
			t.Errorf("it was told more than that: %v", told)
		}
	})
}

// kindOf is the kind that a procedure is called as: the reserved ones answer with streams.
func kindOf(procedure string) uint32 {
	if strings.HasPrefix(procedure, "/rpcmesh.") {
		return uint32(connect.StreamTypeServer)
	}
	return uint32(connect.StreamTypeUnary)
}

// shown is a name as errors have it.
func shown(name string) string {
	if len(name) > 64 {
		return name[:64] + "..."
	}
	return name
}

// TestCallsStayInTheirNamespace: a call that names one that its link carries comes to no origin in another, which
// it names for the origin's.
func TestCallsStayInTheirNamespace(t *testing.T) {
	everyEntrance(t, func(t *testing.T, e *estate, in *intruder, sealed bool) {
		if sealed {
			return
		}
		for _, forge := range []bool{false, true} {
			if forge && !in.proxy { // a proxy may tell of nothing
				in.forge(e.Node("a"))
				synctest.Wait()
			}
			for _, procedure := range []string{privateHere, privateThere, inOther} {
				for _, origin := range [][]byte{idOf(e.Node("a")), idOf(e.Node("b"))} {
					for _, at := range outside {
						end := in.opens(&linkv1.Open{Namespace: "public", Procedure: procedure, Origin: origin, OriginNamespace: at}, 64)
						if code := codeOfEnd(end); code != connect.CodeUnavailable && code != connect.CodeInvalidArgument ||
							end.GetFailure().GetCertainty() != notStarted {
							t.Errorf("%s at %.20q, forged %v: %v", procedure, at, forge, end)
						}
					}
				}
			}
			if end := in.opens(&linkv1.Open{Namespace: "public", Procedure: publicHere, Origin: idOf(e.Node("a"))}, 64); end.GetCode() != 0 {
				t.Errorf("what it may call: %v", end)
			}
		}
	})
}

// forge tells, in public, that it and the node n are members of private too, joined there and bridged.
func (in *intruder) forge(n *rpcmesh.Node) {
	in.t.Helper()
	self, _ := in.config()
	victim := idOf(n)
	record := func(node []byte, at, other string, neighbour []byte, start uint64) *linkv1.Record {
		return &linkv1.Record{
			Node: node, Namespace: at, Incarnation: 1, Version: 4,
			About:      &linkv1.About{At: 1, Info: &linkv1.NodeInfo{Name: "forged"}},
			Neighbours: []*linkv1.Neighbour{{At: 2, Node: neighbour, Cost: 1, Incarnation: start}},
			Bridges:    []*linkv1.Bridge{{At: 3, Namespace: other}},
			Functions:  []*linkv1.Function{{At: 4, Procedure: privateHere, Registered: 1}},
		}
	}
	in.say(control(&linkv1.Control{Body: &linkv1.Control_Table{Table: &linkv1.Table{
		Namespace: "public", Records: []*linkv1.Record{
			record(self.Node[:], "", "private", victim, startOf(n)), record(self.Node[:], "private", "public", victim, startOf(n)),
			record(victim, "private", "public", self.Node[:], 1),
		},
	}}}))
}

// TestBridgesAreWaysThrough: where a node joins two namespaces, a call that names the one goes to the other.
func TestBridgesAreWaysThrough(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		group(t, c.Node("a"), "ring", []string{"public", "private"}, rpcmesh.Bridged())
		c.Node("b")
		c.Link("b", "a", "private")
		mustRegister(t, c.Node("b").Namespace("private"), work(privateThere, "there"))
		in := intrude(t, c, "a", false, plain("public")...)
		synctest.Wait()
		open := &linkv1.Open{Namespace: "public", Procedure: privateThere, Origin: idOf(c.Node("b")), OriginNamespace: "private"}
		if end := in.opens(open, 64); end.GetCode() != 0 {
			t.Errorf("across the bridge: %v", end)
		}
		open.Namespace = "private"
		if end := in.opens(open, 64); codeOfEnd(end) != connect.CodePermissionDenied {
			t.Errorf("as if it were on the other side: %v", end)
		}
	})
}

// TestEveryKindOfControl: no control lets a peer into a namespace that its link does not carry. A kind that is
// new to the wire has to be entered here.
func TestEveryKindOfControl(t *testing.T) {
	const ends, stays = true, false
	kinds := map[protoreflect.Name]struct {
		body *linkv1.Control
		cuts bool // the link ends by it
	}{
		"hello": {&linkv1.Control{Body: &linkv1.Control_Hello{Hello: hello()}}, ends},
		"proof": {&linkv1.Control{Body: &linkv1.Control_Proof{Proof: &linkv1.Proof{}}}, ends},
		"join":  {&linkv1.Control{Body: &linkv1.Control_Join{Join: intruderJoin(false, plain("public", "private"))}}, ends},
		"table": {&linkv1.Control{Body: &linkv1.Control_Table{Table: &linkv1.Table{Namespace: "private"}}}, ends},
		// These name no namespace.
		"ping":    {&linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{Token: 1}}}, stays},
		"pong":    {&linkv1.Control{Body: &linkv1.Control_Pong{Pong: &linkv1.Pong{Token: 1}}}, stays},
		"goodbye": {&linkv1.Control{Body: &linkv1.Control_Goodbye{Goodbye: &linkv1.Goodbye{}}}, ends},
	}
	fields := (&linkv1.Control{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		name := fields.Get(i).Name()
		kind, known := kinds[name]
		if !known {
			t.Errorf("a control may be a %s: enter what comes of one for a namespace that the link does not carry", name)
			continue
		}
		t.Run(string(name), func(t *testing.T) {
			everyEntrance(t, func(t *testing.T, e *estate, in *intruder, _ bool) {
				ping := &linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{Token: 7}}}
				in.say(control(kind.body, ping))
				err := in.cutOff()
				synctest.Wait()
				if err == nil { // what is wrong with a table is found beside the reading
					in.say(control(ping))
					err = in.cutOff()
				}
				if (err != nil) != kind.cuts {
					t.Errorf("the link ended by %v", err)
				}
				synctest.Wait()
				wantFunctions(t, e.Node("b").Namespace("private"), privateHere+" at a, 1 hops", privateThere+" at b, 0 hops")
			})
		})
	}
}

// TestEveryPartOfATable: whatever a table has in it, one of a namespace that the link does not carry ends the
// link, and nothing of it is taken in.
func TestEveryPartOfATable(t *testing.T) {
	fields := (&linkv1.Table{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.Name() == "namespace" {
			continue
		}
		t.Run(string(field.Name()), func(t *testing.T) {
			everyEntrance(t, func(t *testing.T, _ *estate, in *intruder, _ bool) {
				table := &linkv1.Table{Namespace: "private"}
				filled(table.ProtoReflect(), field)
				in.say(control(&linkv1.Control{Body: &linkv1.Control_Table{Table: table}}))
				if err := in.cutOff(); err == nil {
					t.Errorf("the link outlived %v", table)
				}
			})
		})
	}
}

// filled gives a field a value that is not its default.
func filled(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	switch {
	case field.IsList():
		m.Mutable(field).List().AppendMutable()
	case field.Message() != nil:
		m.Mutable(field)
	case field.Kind() == protoreflect.BoolKind:
		m.Set(field, protoreflect.ValueOfBool(true))
	default:
		m.Set(field, protoreflect.ValueOfUint64(1))
	}
}

// TestEveryFieldOfACall: these are all by which a frame can say where it goes. A field that is new to the wire has
// to be entered here, and into the tests above if it says so too.
func TestEveryFieldOfACall(t *testing.T) {
	known := map[string]string{
		"Frame": "call hops open headers window data more close_send cancel end total",
		"Open":  "namespace procedure origin origin_namespace timeout stream_type headers caller",
	}
	for _, m := range []proto.Message{&linkv1.Frame{}, &linkv1.Open{}} {
		d := m.ProtoReflect().Descriptor()
		var names []string
		for i := range d.Fields().Len() {
			names = append(names, string(d.Fields().Get(i).Name()))
		}
		if got := strings.Join(names, " "); got != known[string(d.Name())] {
			t.Errorf("%s has the fields %s: can one of them lead out of what the link carries?", d.Name(), got)
		}
	}
}

// TestFramesOfNoCall: what is said of a call that was refused, or never was, comes to nothing.
func TestFramesOfNoCall(t *testing.T) {
	everyEntrance(t, func(t *testing.T, e *estate, in *intruder, _ bool) {
		in.opens(&linkv1.Open{Namespace: "private", Procedure: privateHere, Origin: idOf(e.Node("a"))}, 64)
		for _, id := range []uint32{in.call - 2, in.call + 100} {
			in.say(&linkv1.Packet{Frames: []*linkv1.Frame{
				{Call: id, Data: []byte("x"), CloseSend: true}, {Call: id, Window: 1 << 20}, {Call: id, Cancel: 1},
			}})
		}
		in.say(control(&linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{Token: 7}}}))
		if err := in.cutOff(); err != nil {
			t.Errorf("the link ended by %v", err)
		}
	})
}

// TestRefusalsAreCounted: each is counted, and the log has one line in a while, with no names of arbitrary length.
func TestRefusalsAreCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		e := newEstate(t, c)
		in := intrude(t, c, "a", false, plain("public")...)
		const calls = 100
		for range 2 {
			for range calls {
				in.opens(&linkv1.Open{Namespace: strings.Repeat("x", 255), Procedure: privateHere, Origin: idOf(e.Node("a"))}, 64)
			}
			time.Sleep(2 * time.Second)                                                        // fake time
			in.say(control(&linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{}}})) // or it counts as silent
			time.Sleep(2 * time.Second)                                                        // fake time
		}
		refused := uint64(0)
		for l := range e.Node("a").Links() {
			refused += l.Refused
		}
		if refused != 2*calls {
			t.Errorf("%d refusals are counted of %d", refused, 2*calls)
		}
		if n := strings.Count(e.log.String(), "call refused"); n != 1 {
			t.Errorf("the log has %d lines of it:\n%s", n, e.log.String())
		}
		if strings.Contains(e.log.String(), strings.Repeat("x", 100)) {
			t.Error("the log has names of any length")
		}
	})
}
