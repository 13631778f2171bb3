package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	interopv1 "github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1/interopv1rpcmesh"
)

// processEnv makes the test's executable one of the processes that are restarted: what it is, and its arguments, with
// spaces between.
const processEnv = "RPCMESH_INTEROP_PROCESS"

const (
	// workTime is how long a call of WorkService takes.
	workTime = 2 * time.Millisecond
	// drainTime is how long a process has to end in order.
	drainTime = 10 * time.Second
)

// runProcess runs one of the processes until it gets SIGTERM, and returns its exit code.
func runProcess(as string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	words := strings.Fields(as)
	run := map[string]func(context.Context, []string) error{"replica": runReplica, "server": runServer}[words[0]]
	if err := run(ctx, words[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// runReplica is a node with an origin of WorkService: its name, and the URLs to link to.
func runReplica(ctx context.Context, args []string) error {
	node, err := rpcmesh.NewNode(rpcmesh.Config{Name: args[0], Secret: secret})
	if err != nil {
		return err
	}
	defer node.Close()
	ns := node.Namespace(namespace)
	if _, err := interopv1rpcmesh.RegisterWorkServiceOrigin(ns.Replicated(rpcmesh.PolicyRoundRobin), worker{}); err != nil {
		return err
	}
	for _, url := range args[1:] {
		if _, err := node.Link(url, namespace); err != nil {
			return err
		}
	}
	<-ctx.Done()
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	return node.Shutdown(drain)
}

// worker is WorkService on the project's own stubs.
type worker struct{}

func (worker) Work(ctx context.Context, req *interopv1.WorkRequest) (*interopv1.WorkResponse, error) {
	select {
	case <-time.After(workTime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &interopv1.WorkResponse{Number: req.GetNumber()}, nil
}

// runServer is a server of grpc-go that knows nothing of meshes, at an address. It ends as such servers do.
func runServer(ctx context.Context, args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	server, state := grpc.NewServer(), health.NewServer()
	interopv1.RegisterWorkServiceServer(server, grpcWorker{})
	grpc_health_v1.RegisterHealthServer(server, state)
	reflection.Register(server)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		state.Shutdown()
		server.GracefulStop()
	}()
	err = server.Serve(l)
	if err == nil {
		<-ended
	}
	return err
}

// grpcWorker is WorkService on the stubs of grpc-go.
type grpcWorker struct {
	interopv1.UnimplementedWorkServiceServer
}

func (grpcWorker) Work(ctx context.Context, req *interopv1.WorkRequest) (*interopv1.WorkResponse, error) {
	return worker{}.Work(ctx, req)
}
