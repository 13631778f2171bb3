package adopt_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// file is a file with one message, M, and a service whose one method is Do.
func file(path, pkg, service string, deps ...string) *descriptorpb.FileDescriptorProto {
	f := &descriptorpb.FileDescriptorProto{
		Name: new(path), Package: new(pkg), Syntax: new("proto3"), Dependency: deps,
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("M")}},
	}
	if service != "" {
		f.Service = []*descriptorpb.ServiceDescriptorProto{{
			Name: new(service),
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: new("Do"), InputType: new("." + pkg + ".M"), OutputType: new("." + pkg + ".M"),
			}},
		}}
	}
	return f
}

func set(t *testing.T, files ...*descriptorpb.FileDescriptorProto) map[string][]byte {
	t.Helper()
	encoded := map[string][]byte{}
	for _, f := range files {
		b, err := proto.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		encoded[f.GetName()] = b
	}
	return encoded
}

// nested is a file of messages that lie depth deep in each other, with a service.
func nested(depth int) *descriptorpb.FileDescriptorProto {
	f := file("a.proto", "a", "A")
	m := f.MessageType[0]
	for range depth {
		inner := &descriptorpb.DescriptorProto{Name: new("N")}
		m.NestedType = []*descriptorpb.DescriptorProto{inner}
		m = inner
	}
	return f
}

// liar is a reflection service by hand, which says what a test wants it to.
type liar struct {
	set    map[string][]byte // files by path
	lists  []string          // default: a.A, or what the test's file has
	answer func(request []byte) []byte
	alpha  bool // has v1alpha alone
	floods bool // sends without end
}

func bytesField(number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
}

func (l *liar) handler() http.Handler {
	server := connect.NewServer()
	for _, version := range []string{"v1", "v1alpha"} {
		if version == "v1" && l.alpha {
			continue
		}
		server.Register(connect.Method{
			Spec: connect.Spec{
				Procedure: "/grpc.reflection." + version + ".ServerReflection/ServerReflectionInfo", StreamType: connect.StreamTypeBidi,
			}, Handler: l.serve,
		})
	}
	m := http.NewServeMux()
	connecthttp.Mount(m, server, connecthttp.WithCodecs(&bridge.Codec{}))
	return m
}

func (l *liar) serve(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
	for {
		var req rawcall.Message
		if err := stream.Receive(&req); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		res := l.respond(req.B)
		for {
			if err := stream.Send(&rawcall.Message{B: res}); err != nil {
				return err
			}
			if !l.floods {
				break
			}
		}
	}
}

// The fields of a request and a response of grpc.reflection.v1.
const (
	askFile, askSymbol, askList    = 3, 4, 7
	answerFile, answerList, answer = 4, 6, 7
)

func (l *liar) respond(req []byte) []byte {
	if l.answer != nil {
		return l.answer(req)
	}
	number, _, n := protowire.ConsumeTag(req)
	value, _ := protowire.ConsumeBytes(req[n:])
	switch number {
	case askList:
		lists := l.lists
		if lists == nil {
			lists = []string{"a.A"}
			if l.set["other.proto"] != nil {
				lists = []string{"other.Other"}
			}
		}
		var list []byte
		for _, name := range lists {
			list = append(list, bytesField(1, bytesField(1, []byte(name)))...)
		}
		return bytesField(answerList, list)
	case askFile:
		if b, ok := l.set[string(value)]; ok {
			return bytesField(answerFile, bytesField(1, b))
		}
	case askSymbol:
		for path, b := range l.set {
			if pkg, _, _ := strings.Cut(string(value), "."); strings.TrimSuffix(path, ".proto") == pkg {
				return bytesField(answerFile, bytesField(1, b))
			}
		}
	}
	notFound := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(connect.CodeNotFound))
	return bytesField(answer, append(notFound, bytesField(2, []byte("not here"))...))
}

// TestLies: whatever a server says of its schema, adopting it ends with an error that says what is wrong, within
// its time, and nothing else is harmed.
func TestLies(t *testing.T) {
	wide := file("a.proto", strings.Repeat("a", 1<<16), "A")
	for range 1 << 14 {
		wide.MessageType = append(wide.MessageType, &descriptorpb.DescriptorProto{Name: new("N")})
	}
	bare := file("a.proto", "a", "")
	var deep []byte // deeper than a decoder goes
	for range 12_000 {
		deep = bytesField(3, deep)
	}
	deep = bytesField(4, deep)
	many := map[string][]byte{}
	maps.Copy(many, set(t, file("a.proto", "a", "A", name(0))))
	for i := range 200 {
		maps.Copy(many, set(t, file(name(i), "p"+name(i)[:1], "", name(i+1))))
	}
	wrongType := file("a.proto", "a", "A")
	wrongType.Service[0].Method[0].InputType = new(".a.Missing")
	for _, test := range []struct {
		name   string
		server liar
		text   string
	}{
		{name: "a service without a file", server: liar{lists: []string{"a.A"}}, text: "no file for its service a.A"},
		{name: "a file without the service", server: liar{set: set(t, bare)}, text: `no service "a.A"`},
		{name: "an import that is not there", server: liar{set: set(t, file("a.proto", "a", "A", "b.proto"))}, text: "no file b.proto"},
		{name: "imports in a circle", server: liar{set: set(t, file("a.proto", "a", "A", "b.proto"), file("b.proto", "b", "", "a.proto"))}, text: "does not build"},
		{name: "a type that is not there", server: liar{set: set(t, wrongType)}, text: "does not build"},
		{name: "no services", server: liar{lists: []string{}}, text: "no service to adopt"},
		{name: "a service that is no name", server: liar{lists: []string{"../etc/passwd"}}, text: "which is no name"},
		{name: "more services than may be", server: liar{lists: make([]string, 20)}, text: "more than 8 services"},
		{name: "more files than may be", server: liar{set: many}, text: "more than 16 files"},
		{name: "messages deep in each other", server: liar{set: set(t, nested(1000))}, text: "too large when it is built"},
		{name: "long names", server: liar{set: set(t, wide)}, text: "too large when it is built"},
		{name: "a file that is no descriptor", server: liar{set: map[string][]byte{"a.proto": {0xff}}}, text: "invalid descriptor"},
		{name: "messages without a bottom", server: liar{set: map[string][]byte{"a.proto": deep}}, text: "invalid descriptor"},
		{name: "another kind of answer", server: liar{answer: func([]byte) []byte { return bytesField(answerFile, nil) }}, text: "wrong response type"},
		{name: "an answer that is no message", server: liar{answer: func([]byte) []byte { return []byte{0xff} }}, text: "reflection cannot be read"},
		{name: "an answer without end", server: liar{answer: func([]byte) []byte { return make([]byte, 2<<20) }}, text: "larger than"},
		{name: "answers without end", server: liar{floods: true, set: set(t, bare)}, text: "wrong response type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := lone(t)
			server := serve(t, "127.0.0.1:0", test.server.handler(), nil, false)
			a := start(t, node, server.url, quick(func(cfg *adopt.Config) {
				cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour
				cfg.Limits = adopt.Limits{MaxServices: 8, MaxFiles: 16, MaxDescriptors: 1 << 20}
			}))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := a.Ready(ctx)
			wantCode(t, err, connect.CodeInvalidArgument)
			if err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, which does not say %q", err, test.text)
			}
			if got := procedures(node.Namespace("public")); len(got) > 0 {
				t.Errorf("the node offers %v", got)
			}
		})
	}
}

func name(i int) string { return string(rune('b'+i%20)) + strings.Repeat("x", i) + ".proto" }

// TestSilentReflection: a server that never answers costs its time, and Close does not wait for it.
func TestSilentReflection(t *testing.T) {
	asked := make(chan struct{}, 8)
	var l liar
	release := make(chan struct{})
	l.answer = func([]byte) []byte {
		asked <- struct{}{}
		<-release
		return nil
	}
	server := serve(t, "127.0.0.1:0", l.handler(), nil, false)
	defer close(release)
	node := lone(t)
	a := start(t, node, server.url, quick(func(cfg *adopt.Config) {
		cfg.ProbeTimeout, cfg.RetryMin, cfg.RetryMax = 300*time.Millisecond, time.Hour, time.Hour
	}))
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	wantCode(t, a.Ready(ctx), connect.CodeDeadlineExceeded)
}

// TestReflectionAlpha: servers that have the old reflection alone are read, too.
func TestReflectionAlpha(t *testing.T) {
	l := liar{alpha: true, set: set(t, file("a.proto", "a", "A"))}
	server := serve(t, "127.0.0.1:0", l.handler(), nil, false)
	node := lone(t)
	ready(t, node, server.url, quick())
	if err := node.Namespace("public").WaitFor(within(t), "/a.A/Do"); err != nil {
		t.Fatal(err)
	}
}

// TestServices: of several services those that are named are adopted.
func TestServices(t *testing.T) {
	l := liar{lists: []string{"a.A", "b.B"}, set: set(t, file("a.proto", "a", "A"), file("b.proto", "b", "B"))}
	server := serve(t, "127.0.0.1:0", l.handler(), nil, false)
	node := lone(t)
	ready(t, node, server.url, quick(func(cfg *adopt.Config) { cfg.Services = []string{"b.B"} }))
	if got := procedures(node.Namespace("public")); len(got) != 1 || got[0] != "/b.B/Do" {
		t.Errorf("the node offers %v", got)
	}
	a := start(t, node, server.url, quick(func(cfg *adopt.Config) { cfg.Services = []string{"c.C"} }))
	wantCode(t, a.Ready(within(t)), connect.CodeInvalidArgument)
}

// TestBadConfig: what cannot be is refused before anything is dialled.
func TestBadConfig(t *testing.T) {
	node := lone(t)
	valid := greeterSet(t)
	for _, test := range []struct {
		name string
		url  string
		cfg  adopt.Config
	}{
		{name: "no URL"},
		{name: "another scheme", url: "ftp://127.0.0.1"},
		{name: "a user", url: "http://me:secret@127.0.0.1"},
		{name: "a query", url: "http://127.0.0.1/?a=b"},
		{name: "protocol", cfg: adopt.Config{Protocol: 9}},
		{name: "namespace", cfg: adopt.Config{Namespace: "No Such"}},
		{name: "policy", cfg: adopt.Config{Policy: 9}},
		{name: "header", cfg: adopt.Config{Header: http.Header{"A b": {"c"}}}},
		{name: "header's value", cfg: adopt.Config{Header: http.Header{"A": {"c\n"}}}},
		{name: "descriptors", cfg: adopt.Config{Descriptors: []byte("no set")}},
		{name: "descriptors without services", cfg: adopt.Config{Descriptors: []byte{}}},
		{name: "descriptors cut off", cfg: adopt.Config{Descriptors: valid[:len(valid)-3]}},
		{name: "descriptors without the service", cfg: adopt.Config{Descriptors: valid, Services: []string{"a.A"}}},
		{name: "descriptors too long", cfg: adopt.Config{Descriptors: valid, Limits: adopt.Limits{MaxDescriptors: 8}}},
		{name: "limit", cfg: adopt.Config{Limits: adopt.Limits{MaxCalls: -1}}},
		{name: "time", cfg: adopt.Config{ProbeTimeout: -1}},
		{name: "times", cfg: adopt.Config{RetryMin: time.Second, RetryMax: time.Millisecond}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.url == "" && test.name != "no URL" {
				test.url = "http://127.0.0.1:1"
			}
			a, err := adopt.New(node, test.url, test.cfg)
			wantCode(t, err, connect.CodeInvalidArgument)
			if err == nil {
				_ = a.Close()
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("%v tells a password", err)
			}
		})
	}
}

// TestLimits: a response that is too long, and a call too many, end by themselves.
func TestLimits(t *testing.T) {
	s := newStock()
	server := serve(t, "127.0.0.1:0", mux(s.server()), nil, false)
	for _, protocol := range []adopt.Protocol{adopt.GRPC, adopt.GRPCWeb, adopt.Connect} {
		t.Run(protocol.String(), func(t *testing.T) {
			node := lone(t)
			ready(t, node, server.url, quick(func(cfg *adopt.Config) {
				cfg.Protocol, cfg.Limits = protocol, adopt.Limits{MaxMessage: 1000, MaxCalls: 1}
			}))
			client := greetv1rpcmesh.NewGreeterClient(node.Namespace("public"))
			_, err := client.Greet(within(t), &greetv1.GreetRequest{Name: strings.Repeat("a", 2000)})
			wantCode(t, err, connect.CodeResourceExhausted)
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			waits := make(chan struct{})
			go func() {
				defer close(waits)
				_, _ = client.Greet(ctx, &greetv1.GreetRequest{Name: "wait"})
			}()
			<-s.started
			_, err = client.Greet(within(t), &greetv1.GreetRequest{Name: "Ada"})
			wantCode(t, err, connect.CodeResourceExhausted)
			if f, ok := rpcmesh.FailureOf(err); !ok || f.Certainty != rpcmesh.CertaintyNotStarted {
				t.Errorf("%v: failure %v", err, f)
			}
			cancel()
			<-waits
			<-s.canceled
		})
	}
}
