package health_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	healthv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/grpc/health/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/health"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const greeter = "example.greet.v1.Greeter"

// world is two linked nodes, and a caller of a's health.
type world struct {
	*rpcmeshtest.Cluster
	client *connect.Client
	specs  map[string]connect.Spec // by method
}

func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{Cluster: rpcmeshtest.New(t), specs: map[string]connect.Spec{}}
		w.Node("a")
		w.Node("b")
		w.Link("b", "a", "public")
		methods := health.Methods(w.Node("a").Namespace("public"), w.Node("a").Stopping())
		server := connect.NewServer()
		server.Register(methods...)
		for _, m := range methods {
			w.specs[string(m.Spec.Schema.(protoreflect.MethodDescriptor).Name())] = m.Spec
		}
		w.client = connect.NewClient(connectinprocess.New(server))
		test(t, w)
	})
}

// register has b offer the Greeter.
func (w *world) register(t *testing.T) *rpcmesh.Origin {
	t.Helper()
	o, err := greetv1rpcmesh.RegisterGreeterOrigin(w.Node("b").Namespace("public"), greetv1rpcmesh.UnimplementedGreeterServer{})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return o
}

// check returns the status of a service, or the code of the error.
func (w *world) check(ctx context.Context, service string) string {
	res := new(healthv1.HealthCheckResponse)
	if err := w.client.CallUnary(ctx, w.specs["Check"], &healthv1.HealthCheckRequest{Service: service}, res); err != nil {
		return connect.CodeOf(err).String()
	}
	return res.GetStatus().String()
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestCheck(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		want(t, "the node", w.check(t.Context(), ""), "SERVING")
		want(t, "before it was ever seen", w.check(t.Context(), greeter), "not_found")
		origin := w.register(t)
		want(t, "registered", w.check(t.Context(), greeter), "SERVING")
		want(t, "a name like it", w.check(t.Context(), "example.greet.v1"), "not_found")
		w.Cut("a", "b")
		synctest.Wait()
		want(t, "behind a cut link", w.check(t.Context(), greeter), "NOT_SERVING")
		w.Heal("a", "b")
		if err := w.Node("a").Namespace("public").WaitFor(t.Context(), greetv1rpcmesh.GreeterGreetProcedure); err != nil {
			t.Fatal(err)
		}
		want(t, "back", w.check(t.Context(), greeter), "SERVING")
		if err := origin.Unregister(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want(t, "withdrawn", w.check(t.Context(), greeter), "NOT_SERVING")
	})
}

func TestList(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		list := func() map[string]string {
			res := new(healthv1.HealthListResponse)
			if err := w.client.CallUnary(t.Context(), w.specs["List"], &healthv1.HealthListRequest{}, res); err != nil {
				t.Fatal(err)
			}
			statuses := map[string]string{}
			for service, r := range res.GetStatuses() {
				statuses[service] = r.GetStatus().String()
			}
			return statuses
		}
		want(t, "nothing there", list(), map[string]string{"": "SERVING"})
		origin := w.register(t)
		want(t, "registered", list(), map[string]string{"": "SERVING", greeter: "SERVING"})
		if err := origin.Unregister(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want(t, "withdrawn", list(), map[string]string{"": "SERVING", greeter: "NOT_SERVING"})
	})
}

// watch opens a Watch and returns what its next answer says: a status, or the code of the end. After a
// minute that is deadline_exceeded.
func (w *world) watch(ctx context.Context, t *testing.T, service string) (next func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	stream, err := w.client.CallServerStream(ctx, w.specs["Watch"], &healthv1.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return func() string {
		res := new(healthv1.HealthCheckResponse)
		switch err := stream.Receive(res); {
		case errors.Is(err, context.Canceled):
			return "canceled"
		case errors.Is(err, context.DeadlineExceeded):
			return "deadline_exceeded"
		case err != nil:
			return connect.CodeOf(err).String()
		}
		return res.GetStatus().String()
	}
}

func TestWatch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		next := w.watch(ctx, t, greeter)
		want(t, "before it was ever seen", next(), "SERVICE_UNKNOWN")
		origin := w.register(t)
		want(t, "registered", next(), "SERVING")
		if err := origin.Unregister(); err != nil {
			t.Fatal(err)
		}
		want(t, "withdrawn", next(), "NOT_SERVING")
		w.register(t)
		want(t, "again", next(), "SERVING")
		short, end := context.WithTimeout(ctx, time.Second)
		defer end()
		quiet := w.watch(short, t, greeter)
		want(t, "a watcher of what does not change", quiet(), "SERVING")
		want(t, "a watcher of what does not change", quiet(), "deadline_exceeded")
		late := w.watch(ctx, t, greeter)
		want(t, "a second watcher", late(), "SERVING")
		w.Cut("a", "b")
		want(t, "behind a cut link", next(), "NOT_SERVING")
		want(t, "behind a cut link", late(), "NOT_SERVING")
		w.Heal("a", "b")
		want(t, "back", next(), "SERVING")
		cancel()
		want(t, "left", next(), "canceled")
	})
}

// TestWatchWhole: the node serves until it leaves.
func TestWatchWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		next := w.watch(t.Context(), t, "")
		want(t, "the node", next(), "SERVING")
		w.register(t)
		w.Stop("a")
		want(t, "its end", next(), "NOT_SERVING")
		want(t, "its end", next(), "unavailable")
	})
}

// TestOfficialNames: what callers and reflection see is named as gRPC names it.
func TestOfficialNames(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for name, spec := range w.specs {
			want(t, "procedure", spec.Procedure, "/grpc.health.v1.Health/"+name)
			method := spec.Schema.(protoreflect.MethodDescriptor)
			want(t, "file", method.ParentFile().Path(), "grpc/health/v1/health.proto")
			want(t, "package", method.Input().FullName().Parent(), "grpc.health.v1")
		}
		want(t, "methods", len(w.specs), 3)
	})
}
