package rpcmesh_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// password is what every function of these tests panics with: the log may have it, and nobody else.
const password = "the password is 1234"

// faults are what a user's function can do to a node a, which has a Greeter in public, by the field of Config. Each
// returns how it showed to others, if it did. A field that can hold functions has to be entered here.
var faults = map[string]struct {
	set  func(cfg *rpcmesh.Config)
	meet func(t *testing.T, c *rpcmeshtest.Cluster) error
	code connect.Code // of what is met; 0: nothing shows
	mute bool         // nothing is logged, as it is the log that fails
}{
	"Authenticate": {
		set: func(cfg *rpcmesh.Config) {
			cfg.Authenticate = func(_ context.Context, peer rpcmesh.Peer) error {
				if peer.Name == "friend" {
					return nil
				}
				return errors.New(password + peer.TLS.PeerCertificates[0].Subject.CommonName) // as nobody should in cleartext
			}
		},
		meet: func(t *testing.T, c *rpcmeshtest.Cluster) error { return tryLink(t, c.Node("b"), "a", "public") },
		code: connect.CodeUnauthenticated,
	},
	"Authenticate, of the one that dials": {
		set: func(cfg *rpcmesh.Config) {
			cfg.Authenticate = func(_ context.Context, peer rpcmesh.Peer) error {
				if peer.Name == "friend" {
					return nil
				}
				panic(password)
			}
		},
		meet: func(t *testing.T, c *rpcmeshtest.Cluster) error {
			c.Node("b").Namespace("public")
			return tryLink(t, c.Node("a"), "b", "public")
		},
		code: connect.CodeUnauthenticated,
	},
	"Logger": {
		set:  func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(faultyHandler{}) },
		meet: func(t *testing.T, c *rpcmeshtest.Cluster) error { return tryLink(t, c.Node("b"), "a", "public") },
		mute: true,
	},
	"Interceptors": {
		set: func(cfg *rpcmesh.Config) {
			cfg.Interceptors = append(cfg.Interceptors, faultyInterceptor)
		},
		meet: func(t *testing.T, c *rpcmeshtest.Cluster) error {
			ctx, info := connect.NewClientContext(t.Context())
			info.RequestHeader().Set("fault", "1")
			_, err := greet(ctx, c.Node("friend").Namespace("public"), "Ada")
			return err
		},
		code: connect.CodeInternal,
	},
	"TLS": {
		set: func(cfg *rpcmesh.Config) {
			cfg.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic(password) }}
		},
		meet: func(t *testing.T, c *rpcmeshtest.Cluster) error {
			l, err := c.Node("b").Link("https://a", "public")
			if err != nil {
				t.Fatal(err)
			}
			return readyWithin(t, l)
		},
		code: connect.CodeDeadlineExceeded,
	},
	"DialTLS": {
		set: func(cfg *rpcmesh.Config) {
			cfg.DialTLS = &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { panic(password) }}
		},
		meet: func(t *testing.T, c *rpcmeshtest.Cluster) error {
			server, _ := certificate()
			c.Node("b", func(cfg *rpcmesh.Config) { cfg.TLS = server }).Namespace("public")
			l, err := c.Node("a").Link("https://b", "public")
			if err != nil {
				t.Fatal(err)
			}
			return readyWithin(t, l)
		},
		code: connect.CodeDeadlineExceeded,
	},
	"Dial": {
		set: func(cfg *rpcmesh.Config) {
			cfg.Dial = func(context.Context, string, string) (net.Conn, error) { panic(password) }
		},
		meet: func(t *testing.T, c *rpcmeshtest.Cluster) error {
			c.Node("b").Namespace("public")
			l, err := c.Node("a").Link(rpcmeshtest.URL("b"), "public")
			if err != nil {
				t.Fatal(err)
			}
			return readyWithin(t, l)
		},
		code: connect.CodeDeadlineExceeded,
	},
}

// readyWithin waits for a link that is not to come up.
func readyWithin(t *testing.T, l *rpcmesh.Link) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return l.Ready(ctx)
}

// faultyHandler panics at every line.
type faultyHandler struct{}

func (faultyHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (faultyHandler) Handle(context.Context, slog.Record) error { panic(password) }
func (h faultyHandler) WithAttrs([]slog.Attr) slog.Handler      { return h }
func (h faultyHandler) WithGroup(string) slog.Handler           { return h }

// faultyInterceptor panics over calls with the header "fault".
func faultyInterceptor(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		if info, _ := connect.CallInfoForServerContext(ctx); info.RequestHeader().Get("fault") != "" {
			panic(password)
		}
		return next(ctx, spec, stream)
	}
}

// TestFaultsOfTheConfig: a function of the configuration that panics has refused what it was asked. The node, its
// links and calls go on; the log has what happened, and where, and nobody else learns of it.
func TestFaultsOfTheConfig(t *testing.T) {
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				var log lockedBuffer
				c.Node("a", func(cfg *rpcmesh.Config) {
					cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
					f.set(cfg)
				})
				register(t, c.Node("a").Namespace("public"), says("a"))
				ways := c.Node("a").Namespace("public")
				if name != "TLS" {
					c.Node("friend")
					c.Link("friend", "a", "public")
					ways = c.Node("friend").Namespace("public")
				}
				synctest.Wait()
				wantGreeting(t, ways, "a")
				switch err := f.meet(t, c); {
				case f.code == 0 && err != nil, f.code != 0 && connect.CodeOf(err) != f.code:
					t.Errorf("it showed as %v", err)
				case err != nil && (strings.Contains(err.Error(), "1234") || strings.Contains(err.Error(), "nil pointer")):
					t.Errorf("it was told of as %v", err)
				}
				if !f.mute && (!strings.Contains(log.String(), "panicked") || !strings.Contains(log.String(), "faults_test.go")) {
					t.Errorf("the log does not say what panicked where:\n%s", log.String())
				}
				wantGreeting(t, ways, "a")
			})
		})
	}
}

// TestFaultsAreAll: there is a test for every field of a configuration that can hold functions of the user's.
func TestFaultsAreAll(t *testing.T) {
	for _, config := range []any{rpcmesh.Config{}, rpcmesh.ProxyConfig{}} {
		typ := reflect.TypeOf(config)
		for field := range typ.Fields() {
			kind := field.Type.Kind()
			if kind == reflect.Slice {
				kind = field.Type.Elem().Kind()
			}
			if kind != reflect.Func && kind != reflect.Interface && kind != reflect.Pointer {
				continue
			}
			if _, ok := faults[field.Name]; !ok {
				t.Errorf("what if a function of %v.%s panics?", typ, field.Name)
			}
		}
	}
}

// badError is an error of a user's whose methods panic.
type badError struct{}

func (badError) Error() string { panic(password) }
func (badError) Unwrap() error { panic(password) }
func (badError) Is(error) bool { panic(password) }
func (badError) As(any) bool   { panic(password) }

// TestFaultsOfCalls: what handlers, and those to whom a call's end is told, do badly ends their call alone.
func TestFaultsOfCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log, callerLog lockedBuffer
		a := c.Node("a", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		b := c.Node("b", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&callerLog, nil)) })
		c.Link("b", "a", "public")
		register(t, a.Namespace("public"), funcs{greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			if req.GetName() == "error" {
				return nil, badError{}
			}
			panic(password)
		}})
		mustRegister(t, a.Namespace("public"), work("/test.v1.At/A", "a"))
		synctest.Wait()
		for _, ns := range []*rpcmesh.Namespace{a.Namespace("public"), b.Namespace("public")} {
			for _, name := range []string{"panic", "error"} {
				log.Reset()
				_, err := greet(t.Context(), ns, name)
				if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "1234") {
					t.Errorf("%s: told %v", name, err)
				}
				if !strings.Contains(log.String(), "1234") || !strings.Contains(log.String(), "faults_test.go") {
					t.Errorf("%s: the log has %s", name, log.String())
				}
			}
		}
		for _, n := range []*rpcmesh.Node{a, b} {
			log.Reset()
			callerLog.Reset()
			caller := rawcall.NewCaller()
			done := make(chan struct{})
			call := &rawcall.Call{Procedure: "/test.v1.At/A", Owner: rawDone(func(*rawcall.Call) rawcall.Output {
				defer close(done)
				panic(password)
			})}
			if !caller.Begin(n.Namespace("public"), call) {
				t.Fatal("it has not begun")
			}
			caller.Flush()
			<-done
			synctest.Wait()
			if text := log.String() + callerLog.String(); !strings.Contains(text, "1234") || !strings.Contains(text, "Owner.Done") {
				t.Errorf("the log has %s", text)
			}
		}
		if got, err := do(t.Context(), b.Namespace("public"), connect.Spec{Procedure: "/test.v1.At/A"}, ""); got != "a" || err != nil {
			t.Errorf("afterwards: %q, %v", got, err)
		}
	})
}

// TestFaultsOfLoops: a loop over what a node yields may end by a panic, which is its own; the node is as after any
// loop that was left.
func TestFaultsOfLoops(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		a := c.Node("a")
		c.Node("b")
		c.Link("b", "a", "public")
		register(t, a.Namespace("public"), says("a"))
		ns := a.Namespace("public")
		synctest.Wait()
		for name, loop := range map[string]func(){
			"watch":     func() { each(ns.Watch(t.Context())) },
			"functions": func() { each(ns.Functions()) },
			"members":   func() { each(a.Members()) },
			"links":     func() { each(a.Links()) },
		} {
			func() {
				defer func() {
					if r := recover(); r != password {
						t.Errorf("%s: recovered %v", name, r)
					}
				}()
				loop()
			}()
		}
		// Nothing is locked, and nobody is told any more.
		mustRegister(t, ns, work("/test.v1.At/A", "a"))
		synctest.Wait()
		wantGreeting(t, c.Node("b").Namespace("public"), "a")
	})
}

// each panics at the first that is yielded.
func each[V any](seq func(func(V) bool)) {
	for range seq {
		panic(password)
	}
}

// faultyListener panics when it is to accept.
type faultyListener struct{ net.Listener }

func (faultyListener) Accept() (net.Conn, error) { panic(password) }

// TestFaultsOfListeners: Serve fails by a listener that panics, and only that.
func TestFaultsOfListeners(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		a := c.Node("a", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		register(t, a.Namespace("public"), says("a"))
		l, err := c.Listen("another")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Serve(t.Context(), faultyListener{l}); err == nil || strings.Contains(err.Error(), "1234") {
			t.Errorf("Serve: %v", err)
		}
		if !strings.Contains(log.String(), "1234") {
			t.Errorf("the log has %s", log.String())
		}
		wantGreeting(t, a.Namespace("public"), "a")
	})
}
