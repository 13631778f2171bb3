package gateway_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

type exampleGreeter struct {
	greetv1rpcmesh.UnimplementedGreeterServer
}

func (exampleGreeter) Greet(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	return &greetv1.GreetResponse{Greeting: "Hello " + req.GetName()}, nil
}

// A node with a gateway: any HTTP client calls a function by JSON. The function may be at any node of the mesh.
func ExampleMount() {
	node, err := rpcmesh.NewNode(rpcmesh.Config{Name: "a", Secret: "a long random string, kept out of the source"})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), exampleGreeter{}); err != nil {
		log.Fatal(err)
	}
	// Open lets anyone call; in life give callers Tokens, or Authorize them.
	if err := gateway.Mount(node, gateway.Config{Namespace: "public", Open: true}); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = node.Serve(context.Background(), listener) }() // links and callers, on one port

	res, err := http.Post("http://"+listener.Addr().String()+"/example.greet.v1.Greeter/Greet",
		"application/json", strings.NewReader(`{"name": "Ada"}`))
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Status, strings.Contains(string(body), "Hello Ada"))
	http.DefaultClient.CloseIdleConnections()
	// Output: 200 OK true
}
