package gateway_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// inside are the nodes of a [secretive], which callers from outside are not to hear of.
var inside = []string{"entry-q7", "relay-q7", "origin-q7", "lost-q7"}

// secretive is a chain of nodes whose functions fail in all ways.
type secretive struct {
	*rpcmeshtest.Cluster
	running chan struct{} // a handler waits
	ran     atomic.Bool   // one has begun to
}

// fails are the procedures of a secretive by how they fail.
var fails = map[string]string{
	"absent":        "/test.v1.Fails/Absent",
	"gone":          "/test.v1.Fails/Gone",
	"lost":          "/test.v1.Fails/Lost",
	"too long":      "/test.v1.Fails/TooLong",
	"no schema":     "/test.v1.Fails/NoSchema",
	"not begun":     "/test.v1.Fails/NotBegun",
	"its own words": "/test.v1.Fails/OwnWords",
}

func newSecretive(t *testing.T) *secretive {
	t.Helper()
	s := &secretive{Cluster: rpcmeshtest.New(t), running: make(chan struct{}, 8)}
	s.Node("entry-q7", func(cfg *rpcmesh.Config) { cfg.Limits.MaxMessage = 1000 })
	for _, name := range inside[1:] {
		s.Node(name, func(cfg *rpcmesh.Config) { cfg.RedialMin, cfg.RedialMax = 5*time.Millisecond, 5*time.Millisecond })
	}
	s.Link("relay-q7", "entry-q7", "public")
	s.Link("origin-q7", "relay-q7", "public")
	s.Link("lost-q7", "relay-q7", "public")
	ns := s.Node("origin-q7").Namespace("public")
	handlers := map[string]func(context.Context) (string, error){
		"gone": func(context.Context) (string, error) { return "", nil },
		"lost": func(ctx context.Context) (string, error) {
			s.ran.Store(true)
			s.running <- struct{}{}
			<-ctx.Done()
			return "", nil
		},
		"too long":  func(context.Context) (string, error) { return strings.Repeat("x", 2000), nil },
		"no schema": func(context.Context) (string, error) { return "", nil },
		"not begun": func(context.Context) (string, error) {
			return "", rpcmesh.NotStarted(connect.NewError(connect.CodeUnavailable, "the shop is closed"))
		},
		"its own words": func(context.Context) (string, error) {
			return "", connect.NewError(connect.CodeAborted, "ask somebody else").
				WithDetail(&connect.ErrorDetail{Type: "google.rpc.ErrorInfo", Value: []byte("\x0a\x05CLOSE\x12\x04shop\x1a\x06\x0a\x01k\x12\x01v")})
		},
	}
	var gone *rpcmesh.Origin
	for how, do := range handlers {
		at := ns
		if how == "lost" { // its node's link is reset, which is to meet no other call
			at = s.Node("lost-q7").Namespace("public")
		}
		origin, err := at.Register(connect.Method{Spec: connect.Spec{Procedure: fails[how]}, Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
			var req rawcall.Message
			if err := stream.Receive(&req); err != nil {
				return err
			}
			text, err := do(ctx)
			if err != nil {
				return err
			}
			return stream.Send(&greetv1.GreetResponse{Greeting: text})
		}})
		if err != nil {
			t.Fatal(err)
		}
		if how == "gone" {
			gone = origin
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for how := range handlers {
		if err := s.Node("entry-q7").Namespace("public").WaitFor(ctx, fails[how]); err != nil {
			t.Fatal(err)
		}
	}
	_ = gone.Unregister()
	if err := ns.WaitVisible(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// told is all that an answer has, with what is base64 in it decoded too.
func (d door) told(t *testing.T, path, contentType, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(limited(t), http.MethodPost, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	res, got := d.roundTrip(t, req)
	text := fmt.Sprintln(res.Status, res.Header, res.Trailer) + string(got)
	for _, encoded := range regexp.MustCompile(`[A-Za-z0-9+/]{8,}`).FindAllString(text, -1) {
		if decoded, err := base64.RawStdEncoding.DecodeString(encoded); err == nil {
			text += "\n" + string(decoded)
		}
	}
	return text
}

// names reports which of the nodes inside a text tells of.
func names(text string) (named []string) {
	for _, name := range inside {
		id := rpcmesh.NodeIDOf(name)
		for _, of := range []string{name, id.String(), string(id[:]), hex.EncodeToString(id[:4])} {
			if strings.Contains(text, of) {
				named = append(named, name)
				break
			}
		}
	}
	return named
}

// TestErrorsNameNoNodes: what callers are told of failures in the mesh names nothing inside, unless the gateway's
// configuration says so; what functions say arrives.
func TestErrorsNameNoNodes(t *testing.T) {
	bodies := map[string]string{
		"application/proto": "", "application/json": "{}", "application/grpc": "\x00\x00\x00\x00\x00",
		"application/grpc-web+proto": "\x00\x00\x00\x00\x00",
	}
	says := map[string]string{
		"absent": "cannot be called here", "gone": "cannot be reached now", "lost": "was lost", "too long": "met a limit",
		"no schema": "without a schema", "not begun": "the shop is closed", "its own words": "ask somebody else",
	}
	for _, names := range []bool{false, true} {
		s := newSecretive(t)
		cfg := gateway.Config{Namespace: "public", Open: true, NameNodes: names}
		for _, kind := range []string{"h2c", "node, h2c"} {
			d := open(t, kind, s.Node("entry-q7"), cfg)
			named := 0
			for how, procedure := range fails {
				for contentType, body := range bodies {
					json := contentType == "application/json"
					if json != (how == "no schema") {
						continue
					}
					t.Run(fmt.Sprintf("%v/%s/%s/%s", names, kind, how, contentType), func(t *testing.T) {
						named += s.fail(t, d, how, says[how], contentType, body, procedure, names)
					})
				}
			}
			named += s.reflects(t, d, names)
			if names == (named == 0) {
				t.Errorf("%d answers have names", named)
			}
		}
	}
}

// reflects asks for what has no schema, and returns how many nodes are named.
func (s *secretive) reflects(t *testing.T, d door, allowed bool) int {
	stream := grpcreflect.NewClient(connect.NewClient(connecthttp.NewTransport(d.client, d.url, connecthttp.WithGRPC()))).NewStream(limited(t))
	defer stream.Close()
	named := 0
	for _, name := range []protoreflect.FullName{"test.v1.Fails", "test.v1.Fails.NoSchema", "no.such.Name"} {
		_, err := stream.FileContainingSymbol(name)
		if err == nil {
			t.Errorf("%s has a file", name)
			continue
		}
		n := len(names(err.Error()))
		if n > 0 && !allowed {
			t.Errorf("reflection says %v", err)
		}
		named += n
	}
	return named
}

// fail makes a call fail and returns how many nodes its caller is told of.
func (s *secretive) fail(t *testing.T, d door, how, says, contentType, body, procedure string, allowed bool) int {
	if how == "lost" {
		cut := make(chan struct{})
		go func() {
			defer close(cut)
			<-s.running
			s.Reset("relay-q7", "lost-q7")
		}()
		defer func() { <-cut }()
	}
	text := d.told(t, procedure, contentType, body)
	for how == "lost" && !s.ran.Swap(false) { // its link was not back yet
		text = d.told(t, procedure, contentType, body)
	}
	named := names(text)
	if allowed {
		return len(named)
	}
	if len(named) > 0 || strings.Contains(text, "q7") || strings.Contains(text, "http://") {
		t.Errorf("it tells of %v: %s", named, text)
	}
	if !strings.Contains(strings.ReplaceAll(text, "%20", " "), says) {
		t.Errorf("it does not say %q: %s", says, text)
	}
	if detail := strings.Contains(text, "rpcmesh.v1.CallFailure"); detail != (how == "lost" || how == "gone" || how == "not begun" || how == "too long") {
		t.Errorf("it says how far the call had come: %v: %s", detail, text)
	}
	if how == "its own words" && !strings.Contains(text, "\x1a\x06\x0a\x01k\x12\x01v") {
		t.Errorf("the function's detail is not whole: %q", text)
	}
	return len(named)
}
