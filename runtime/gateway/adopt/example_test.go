package adopt_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
)

type exampleGreeter struct {
	greetv1rpcmesh.UnimplementedGreeterServer
}

func (exampleGreeter) Greet(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	return &greetv1.GreetResponse{Greeting: "Hello " + req.GetName()}, nil
}

const exampleSecret = "a long random string, kept out of the source"

// grpcServer starts a gRPC server with reflection and returns its URL. In life it is one that exists, in any
// language; here a gateway plays it.
func grpcServer() (stop func(), url string) {
	node, err := rpcmesh.NewNode(rpcmesh.Config{Secret: exampleSecret})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("default"), exampleGreeter{}); err != nil {
		log.Fatal(err)
	}
	if err := gateway.Mount(node, gateway.Config{Open: true}); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = node.Serve(context.Background(), listener) }()
	return func() { _ = node.Close() }, "http://" + listener.Addr().String()
}

// The functions of an existing gRPC server become functions of the mesh, without a changed line in it.
func ExampleNew() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stop, url := grpcServer()
	defer stop()

	node, err := rpcmesh.NewNode(rpcmesh.Config{Name: "a", Secret: exampleSecret})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	server, err := adopt.New(node, url, adopt.Config{Namespace: "public"})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	if err := server.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	res, err := greetv1rpcmesh.NewGreeterClient(node.Namespace("public")).Greet(ctx, &greetv1.GreetRequest{Name: "Ada"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.GetGreeting())
	// Output: Hello Ada
}
