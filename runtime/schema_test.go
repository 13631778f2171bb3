package rpcmesh_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

const doProcedure = "/p.S/Do"

// described returns the method p.S/Do, of p.M to p.M, in a file that text completes.
func described(t testing.TB, text string) protoreflect.MethodDescriptor {
	t.Helper()
	f := new(descriptorpb.FileDescriptorProto)
	err := prototext.Unmarshal([]byte(`name: "s.proto" package: "p"
		service { name: "S" method { name: "Do" input_type: ".p.M" output_type: ".p.M" } } `+text), f)
	if err != nil {
		t.Fatal(err)
	}
	file, err := protodesc.NewFile(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Services().Get(0).Methods().Get(0)
}

// fields is a message with n fields of a type.
func fields(name string, n int, kinds ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `message_type { name: %q `, name)
	for i := range n {
		kind := "TYPE_STRING"
		if i < len(kinds) {
			kind = kinds[i]
		}
		fmt.Fprintf(&b, `field { name: "f%d" number: %d label: LABEL_OPTIONAL type: %s } `, i+1, i+1, kind)
	}
	b.WriteString("}\n")
	return b.String()
}

// filler is messages that take about size bytes in all.
func filler(size int) string {
	var b strings.Builder
	for i := range size / 500 {
		b.WriteString(fields(fmt.Sprintf("F%s%d", strings.Repeat("x", 480), i), 0))
	}
	return b.String()
}

// does returns a method p.S/Do of that schema, which answers with nothing.
func does(md protoreflect.MethodDescriptor) connect.Method {
	return unary(connect.Spec{Procedure: doProcedure, Schema: md}, func(context.Context, string) (string, error) { return "", nil })
}

// caller is who can ask for a schema.
type schemaSource interface {
	Schema(ctx context.Context, procedure string) (*rpcmesh.Schema, error)
	Functions() iter.Seq[rpcmesh.Function]
}

func wantSchema(t testing.TB, from schemaSource, md protoreflect.MethodDescriptor) *rpcmesh.Schema {
	t.Helper()
	procedure := "/" + string(md.Parent().FullName()) + "/" + string(md.Name())
	s, err := from.Schema(t.Context(), procedure)
	if err != nil {
		t.Fatalf("%s: %v", procedure, err)
	}
	if s.Method().FullName() != md.FullName() {
		t.Errorf("%s: it is of %s", procedure, s.Method().FullName())
	}
	want := protodesc.ToFileDescriptorProto(md.ParentFile())
	if diff := cmp.Diff(want, protodesc.ToFileDescriptorProto(s.Method().ParentFile()), protocmp.Transform()); diff != "" {
		t.Errorf("%s: the file differs:\n%s", procedure, diff)
	}
	files := s.Files().GetFile()
	if diff := cmp.Diff(want, files[len(files)-1], protocmp.Transform()); diff != "" {
		t.Errorf("%s: the last file differs:\n%s", procedure, diff)
	}
	return s
}

// TestSchema: whoever can call a function gets its schema, under the hash that the table has.
func TestSchema(t *testing.T) {
	everywhere(t, func(w *world) {
		w.serve(greeter{})
		mustRegister(w, w.origin, work("/test.v1.At/A", "a"))
		synctest.Wait()
		methods := greetv1.File_example_greet_v1_greet_proto.Services().ByName("Greeter").Methods()
		hashes := map[string]rpcmesh.SchemaHash{}
		for f := range w.caller.(schemaSource).Functions() {
			hashes[f.Procedure] = f.Schema
		}
		for i := range methods.Len() {
			s := wantSchema(w, w.caller.(schemaSource), methods.Get(i))
			if got := hashes[greeterProcedures[0]]; s.Hash() != got || got == (rpcmesh.SchemaHash{}) || len(got.String()) != 64 {
				w.Errorf("hash %v, in the table %v", s.Hash(), got)
			}
		}
		_, err := w.caller.(schemaSource).Schema(w.Context(), "/test.v1.At/A")
		wantError(w.T, err, connect.CodeNotFound, "without a schema")
		_, err = w.caller.(schemaSource).Schema(w.Context(), "/test.v1.At/B")
		wantError(w.T, err, connect.CodeUnimplemented, "/test.v1.At/B")
	})
}

// TestSchemaThroughGroups: a schema is fetched from the origin through a node that passes functions from a
// namespace into a group and back, and across a bridge.
func TestSchemaThroughGroups(t *testing.T) {
	md := described(t, fields("M", 3))
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		three(t, c)
		// x knows "all" as a plain namespace, two links away.
		c.Link("w", "a", "all")
		c.Link("x", "w", "all")
		mustRegister(t, c.Node("f").Namespace("private"), does(md))
		register(t, c.Node("x").Namespace("all"), says("x"))
		synctest.Wait()
		wantSchema(t, c.Node("a").Namespace("all"), md)
		wantSchema(t, c.Node("x").Namespace("all"), md)
		wantSchema(t, c.Proxy("p", "w", "all"), md)
		wantSchema(t, c.Proxy("q", "a", "all"), md)
		greets := greetv1.File_example_greet_v1_greet_proto.Services().ByName("Greeter").Methods().ByName("Greet")
		for name, ns := range namespaceOf {
			wantSchema(t, c.Node(name).Namespace(ns), greets)
			if _, err := c.Node(name).Namespace(ns).Schema(t.Context(), doProcedure); ns != "private" {
				wantError(t, err, connect.CodeUnimplemented, doProcedure)
			}
		}
	})
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Setup("b", func(n *rpcmesh.Node) { group(t, n, "ring", []string{"left", "right"}, rpcmesh.Bridged()) })
		c.Link("a", "b", "left")
		c.Link("c", "b", "right")
		c.Link("d", "c", "right")
		mustRegister(t, c.Node("a").Namespace("left"), does(md))
		synctest.Wait()
		wantSchema(t, c.Node("d").Namespace("right"), md)
		wantSchema(t, c.Proxy("p", "d", "right"), md)
	})
}

// TestSchemaLongerThanMessages: a schema gets through whatever messages are limited to, on every node.
func TestSchemaLongerThanMessages(t *testing.T) {
	md := described(t, fields("M", 1)+filler(40_000))
	everywhere(t, func(w *world) {
		mustRegister(w, w.origin, does(md))
		synctest.Wait()
		wantSchema(w, w.caller.(schemaSource), md)
	}, func(cfg *rpcmesh.Config) { cfg.Limits = rpcmesh.Limits{MaxMessage: 200, Window: 64} })
}

// TestSchemaTooLong: a function whose schema is too long, or not whole, is registered without one.
func TestSchemaTooLong(t *testing.T) {
	incomplete, err := protodesc.FileOptions{AllowUnresolvable: true}.New(&descriptorpb.FileDescriptorProto{
		Name: new("s.proto"), Package: new("p"), Dependency: []string{"gone.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("S"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: new("Do"), InputType: new(".gone.M"), OutputType: new(".gone.M")},
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, md := range map[string]protoreflect.MethodDescriptor{
		"too long": described(t, fields("M", 1)+filler(5<<20)), "not whole": incomplete.Services().Get(0).Methods().Get(0),
		"another's": greetv1.File_example_greet_v1_greet_proto.Services().Get(0).Methods().Get(0),
	} {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			ns := c.Node("a").Namespace("public")
			origin := mustRegister(t, ns, does(md))
			_, err := ns.Schema(t.Context(), doProcedure)
			wantError(t, err, connect.CodeNotFound, "without a schema")
			for f := range ns.Functions() {
				if f.Schema != (rpcmesh.SchemaHash{}) {
					t.Errorf("%s: it has the schema %v", name, f.Schema)
				}
			}
			origin.Unregister()
		})
	}
}

// TestSchemaServiceIsReserved: what every node serves itself cannot be registered, and is no function.
func TestSchemaServiceIsReserved(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 2, "public")
		for _, name := range []string{"GetSchema", "Other"} {
			procedure := "/rpcmesh.v1.SchemaService/" + name
			_, err := c.Node("a").Namespace("public").Register(work(procedure, "a"))
			wantError(t, err, connect.CodeInvalidArgument, procedure)
			_, err = do(t.Context(), c.Node("b").Namespace("public"), connect.Spec{Procedure: procedure}, "")
			wantError(t, err, connect.CodeUnimplemented, procedure)
		}
		mustRegister(t, c.Node("a").Namespace("public"), work("/rpcmesh.v1.SchemaServices/GetSchema", "a"))
	})
}

// TestSchemaOfAnotherNow: the schema that is asked for is that of the origin that serves when it comes.
func TestSchemaOfAnotherNow(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		first, second := described(t, fields("M", 1)), described(t, fields("M", 2))
		firstHash, secondHash := sha256.Sum256(encodedSchema(t, first)), sha256.Sum256(encodedSchema(t, second))
		var im *impostor
		im = impersonate(t, c, "moody", "c", firstHash[:], func(call *link.ServerCall) {
			if im.asked.Load() > 1 {
				answer(call, encodedSchema(t, second))
				return
			}
			_ = call.End(connect.NewError(connect.CodeNotFound, "the function has another schema"), nil)
			im.register(secondHash[:])
		})
		ns := c.Node("a").Namespace("public")
		s := wantSchema(t, ns, second)
		if again := wantSchema(t, ns, second); again.Files() != s.Files() || im.asked.Load() != 2 {
			t.Errorf("it was fetched %d times", im.asked.Load())
		}
	})
}

// encodedSchema returns a schema as its origin sends it.
func encodedSchema(t testing.TB, md protoreflect.MethodDescriptor) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&descriptorpb.FileDescriptorSet{
		File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(md.ParentFile())},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSchemaOfALiar: what an origin gives as a schema is taken only if it is what its table says, and the next
// who asks is not told what the last one was.
func TestSchemaOfALiar(t *testing.T) {
	good := encodedSchema(t, described(t, fields("M", 1)))
	other := encodedSchema(t, described(t, fields("M", 2)))
	bomb := bytes.Repeat([]byte{0x0a, 0}, 1<<21)
	for _, test := range []struct {
		name   string
		hashOf []byte
		serve  func(*link.ServerCall)
		code   connect.Code
		text   string
	}{
		{"the truth", good, func(c *link.ServerCall) { answer(c, good) }, 0, ""},
		{"in small pieces", good, func(c *link.ServerCall) { answer(c, slices.Collect(slices.Chunk(good, 1))...) }, 0, ""},
		{"nothing", good, func(c *link.ServerCall) { answer(c) }, connect.CodeDataLoss, "hash"},
		{"another schema", good, func(c *link.ServerCall) { answer(c, other) }, connect.CodeDataLoss, "hash"},
		{"a part", good, func(c *link.ServerCall) { answer(c, good[1:]) }, connect.CodeDataLoss, "hash"},
		{"too much", good, func(c *link.ServerCall) { answer(c, good, good) }, connect.CodeDataLoss, "hash"},
		{"without end", good, func(c *link.ServerCall) {
			for piece := slices.Repeat(good, 100); c.Context().Err() == nil; {
				answer(c, slices.Repeat([][]byte{piece}, 1000)...)
			}
		}, connect.CodeResourceExhausted, "4194304 bytes"},
		{"noise of that hash", []byte("noise"), func(c *link.ServerCall) { answer(c, []byte("noise")) }, connect.CodeDataLoss, "not valid"},
		{"a bomb of that hash", bomb, func(c *link.ServerCall) { answer(c, bomb[:1<<21], bomb[1<<21:]) }, connect.CodeResourceExhausted, "elements"},
		{"no messages of the service", good, func(c *link.ServerCall) { _ = c.Send([]byte{0xff}); _ = c.End(nil, nil) }, connect.CodeDataLoss, "another type"},
		{"another function's", encodedSchema(t, greetMethod()), func(c *link.ServerCall) { answer(c, encodedSchema(t, greetMethod())) }, connect.CodeDataLoss, "no service"},
		{"another kind", streamed(t), func(c *link.ServerCall) { answer(c, streamed(t)) }, connect.CodeDataLoss, "server stream"},
		{"an error", good, func(c *link.ServerCall) { _ = c.End(connect.NewError(connect.CodePermissionDenied, "no"), nil) }, connect.CodePermissionDenied, "no"},
		{"that it has another", good, func(c *link.ServerCall) { _ = c.End(connect.NewError(connect.CodeNotFound, "another"), nil) }, connect.CodeNotFound, "another"},
		{"nothing ever", good, func(c *link.ServerCall) {
			<-c.Context().Done()
			time.Sleep(time.Second) // fake time
		}, connect.CodeDeadlineExceeded, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				chain(c, 2, "public")
				hash := sha256.Sum256(test.hashOf)
				im := impersonate(t, c, "liar", "b", hash[:], test.serve)
				ns := c.Node("a").Namespace("public")
				for i := range int32(2) {
					before := im.asked.Load()
					_, err := ns.Schema(t.Context(), doProcedure)
					if test.code == 0 && err == nil {
						if now := im.asked.Load(); i == 1 && now != before {
							t.Error("it was fetched again")
						}
						continue
					}
					wantError(t, err, test.code, test.text)
					// What is true to its hash is kept, though it is not of use for this function.
					if now := im.asked.Load(); now == before && !strings.Contains(err.Error(), "the descriptors") {
						t.Error("the failure was kept")
					}
				}
			})
		})
	}
}

func greetMethod() protoreflect.MethodDescriptor {
	return greetv1.File_example_greet_v1_greet_proto.Services().ByName("Greeter").Methods().ByName("Greet")
}

// streamed is the schema of a p.S/Do that streams.
func streamed(t testing.TB) []byte {
	f := protodesc.ToFileDescriptorProto(described(t, fields("M", 1)).ParentFile())
	f.Service[0].Method[0].ServerStreaming = new(true)
	b, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{f}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSchemaFetchIsShared: those who want one schema at once wait for one fetch, which goes on as long as one of
// them waits.
func TestSchemaFetchIsShared(t *testing.T) {
	encoded := encodedSchema(t, described(t, fields("M", 1)))
	hash := sha256.Sum256(encoded)
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a").Namespace("public")
		release, canceled := make(chan struct{}), make(chan struct{}, 1)
		im := impersonate(t, c, "slow", "a", hash[:], func(call *link.ServerCall) {
			select {
			case <-release:
				answer(call, encoded)
			case <-call.Context().Done():
				canceled <- struct{}{}
			}
		})
		ns := c.Node("a").Namespace("public")
		var waiting sync.WaitGroup
		leaving, leave := context.WithCancel(t.Context())
		for i := range 100 {
			waiting.Go(func() {
				ctx := t.Context()
				if i%2 == 0 {
					ctx = leaving
				}
				if _, err := ns.Schema(ctx, doProcedure); (err != nil) != (i%2 == 0) {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(release)
		waiting.Wait()
		if got := im.asked.Load(); got != 1 {
			t.Errorf("it was fetched %d times", got)
		}
	})
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a").Namespace("public")
		canceled := make(chan struct{}, 1)
		impersonate(t, c, "slow", "a", hash[:], func(call *link.ServerCall) {
			<-call.Context().Done()
			canceled <- struct{}{}
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		_, err := c.Node("a").Namespace("public").Schema(ctx, doProcedure)
		wantError(t, err, connect.CodeCanceled, doProcedure)
		<-canceled // at once: nobody waits any more
	})
}

// TestSchemaOfClosedNode: who waits for a schema is told when the node is closed.
func TestSchemaOfClosedNode(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a").Namespace("public")
		hash := sha256.Sum256([]byte("x"))
		impersonate(t, c, "slow", "a", hash[:], func(call *link.ServerCall) { <-call.Context().Done() })
		n := c.Node("a")
		time.AfterFunc(time.Second, func() { n.Close() })
		if _, err := n.Namespace("public").Schema(t.Context(), doProcedure); err == nil {
			t.Error("it has one")
		}
		synctest.Wait()
		_, err := n.Namespace("public").Schema(t.Context(), doProcedure)
		wantError(t, err, connect.CodeUnavailable, "closed")
	})
}
