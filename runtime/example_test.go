package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

const exampleSecret = "a long random string, kept out of the source"

// exampleGreeter implements greetv1rpcmesh.GreeterServer; what it leaves out answers unimplemented.
type exampleGreeter struct {
	greetv1rpcmesh.UnimplementedGreeterServer
	name string
}

func (h exampleGreeter) Greet(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	if req.GetName() == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, "a name, please")
	}
	return &greetv1.GreetResponse{Greeting: "Hello " + req.GetName() + ", this is " + h.name}, nil
}

func (exampleGreeter) Count(_ context.Context, req *greetv1.CountRequest, out greetv1rpcmesh.GreeterCountServerStream) error {
	for i := range req.GetTo() {
		if err := out.Send(&greetv1.CountResponse{Number: i + 1}); err != nil {
			return err
		}
	}
	return nil
}

func (exampleGreeter) Sum(_ context.Context, in greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
	res := &greetv1.SumResponse{}
	for req, err := range in.All() {
		if err != nil {
			return nil, err
		}
		res.Sum += req.GetNumber()
		res.Count++
	}
	return res, nil
}

func (h exampleGreeter) Chat(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&greetv1.ChatResponse{Line: h.name + " heard " + req.GetLine()}); err != nil {
			return err
		}
	}
}

// exampleNew makes a node, which is a member of the mesh that it is linked to, or alone.
func exampleNew(name string) *rpcmesh.Node {
	node, err := rpcmesh.NewNode(rpcmesh.Config{Name: name, Secret: exampleSecret})
	if err != nil {
		log.Fatal(err) // a program would end in better order
	}
	return node
}

// exampleNode starts a node that listens on loopback, and returns its URL.
func exampleNode(name string) (*rpcmesh.Node, string) {
	node := exampleNew(name)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		if err := node.Serve(context.Background(), listener); err != nil {
			log.Fatal(err)
		}
	}()
	return node, "http://" + listener.Addr().String()
}

// exampleLinked starts a node with a link to url that carries a namespace.
func exampleLinked(ctx context.Context, name, url, namespace string) *rpcmesh.Node {
	node := exampleNew(name)
	link, err := node.Link(url, namespace)
	if err != nil {
		log.Fatal(err)
	}
	if err := link.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	return node
}

// Two nodes in one process: one registers a service, the other calls it. In life each is a program of its own.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	// The program with the service.
	a, url := exampleNode("a")
	defer a.Close()
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(a.Namespace("public"), exampleGreeter{name: "a"}); err != nil {
		log.Fatal(err)
	}

	// A program that calls it. It need not listen, and may have functions of its own, which a can call.
	b := exampleLinked(ctx, "b", url, "public")
	defer b.Close()
	client := greetv1rpcmesh.NewGreeterClient(b.Namespace("public"))
	res, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "Ada"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.GetGreeting())
	// Output: Hello Ada, this is a
}

// A node on the way: c calls a function of a by b, to which both have a link.
func ExampleNode_Link() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	b, url := exampleNode("b")
	defer b.Close()
	b.Namespace("public") // b is a member, so calls go through it
	a := exampleLinked(ctx, "a", url, "public")
	defer a.Close()
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(a.Namespace("public"), exampleGreeter{name: "a"}); err != nil {
		log.Fatal(err)
	}
	c := exampleLinked(ctx, "c", url, "public")
	defer c.Close()

	public := c.Namespace("public")
	if err := public.WaitFor(ctx, greetv1rpcmesh.GreeterGreetProcedure); err != nil {
		log.Fatal(err)
	}
	res, err := greetv1rpcmesh.NewGreeterClient(public).Greet(ctx, &greetv1.GreetRequest{Name: "Carl"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.GetGreeting())
	for _, hop := range public.Route(greetv1rpcmesh.GreeterGreetProcedure) {
		fmt.Println(hop.Name)
	}
	// Output:
	// Hello Carl, this is a
	// c
	// b
	// a
}

// All four kinds of calls work over any number of nodes; this one goes to the node's own function.
func ExampleNamespace_streams() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	node := exampleNew("a")
	defer node.Close()
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), exampleGreeter{name: "a"}); err != nil {
		log.Fatal(err)
	}
	client := greetv1rpcmesh.NewGreeterClient(node.Namespace("public"))

	numbers, err := client.Count(ctx, &greetv1.CountRequest{To: 3})
	if err != nil {
		log.Fatal(err)
	}
	for res, err := range numbers.All() { // All closes the stream
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(res.GetNumber())
	}

	sum, err := client.Sum(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range []int64{2, 3, 5} {
		if err := sum.Send(&greetv1.SumRequest{Number: n}); err != nil {
			log.Fatal(err)
		}
	}
	total, err := sum.CloseAndReceive()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum", total.GetSum())

	chat, err := client.Chat(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer chat.Close()
	if err := chat.Send(&greetv1.ChatRequest{Line: "hello"}); err != nil {
		log.Fatal(err)
	}
	line, err := chat.Receive()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(line.GetLine())
	// Output:
	// 1
	// 2
	// 3
	// sum 10
	// a heard hello
}

// Groups are several namespaces seen as one: the first that has a function serves, the next takes over.
func ExampleNode_Group() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	node := exampleNew("a")
	defer node.Close()
	all, err := node.Group("all", []string{"main", "spare"})
	if err != nil {
		log.Fatal(err)
	}
	first, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("main"), exampleGreeter{name: "the first"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("spare"), exampleGreeter{name: "the spare one"}); err != nil {
		log.Fatal(err)
	}
	client := greetv1rpcmesh.NewGreeterClient(all)
	for range 2 {
		res, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "Eve"})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(res.GetGreeting())
		if err := first.Unregister(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// Hello Eve, this is the first
	// Hello Eve, this is the spare one
}

// Replicas share the calls of a function. All of them register it with one policy.
func ExampleNamespace_Replicated() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, url := exampleNode("a")
	defer a.Close()
	a.Namespace("public") // what a link carries, both ends hold
	b := exampleLinked(ctx, "b", url, "public")
	defer b.Close()
	for _, node := range []*rpcmesh.Node{a, b} {
		reg := node.Namespace("public").Replicated(rpcmesh.PolicyRoundRobin)
		if _, err := greetv1rpcmesh.RegisterGreeterOrigin(reg, exampleGreeter{name: node.Name()}); err != nil {
			log.Fatal(err)
		}
	}
	if err := b.Namespace("public").WaitVisible(ctx); err != nil { // a knows b's replica now
		log.Fatal(err)
	}
	client := greetv1rpcmesh.NewGreeterClient(a.Namespace("public"))
	for range 4 {
		res, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "Bob"})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(res.GetGreeting())
	}
	// Unordered output:
	// Hello Bob, this is a
	// Hello Bob, this is b
	// Hello Bob, this is a
	// Hello Bob, this is b
}

// A proxy calls without being a member: a command line, say, or a program that comes and goes.
func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, url := exampleNode("a")
	defer a.Close()
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(a.Namespace("public"), exampleGreeter{name: "a"}); err != nil {
		log.Fatal(err)
	}
	proxy, err := rpcmesh.Dial(ctx, url, rpcmesh.ProxyConfig{Secret: exampleSecret, Namespace: "public"})
	if err != nil {
		log.Fatal(err)
	}
	defer proxy.Close()
	res, err := greetv1rpcmesh.NewGreeterClient(proxy).Greet(ctx, &greetv1.GreetRequest{Name: "Mallory"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.GetGreeting())
	// Output: Hello Mallory, this is a
}

// Errors have the codes of Connect. A handler's arrives as it was sent; one of the mesh's own says whether the
// handler can have started.
func ExampleFailureOf() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	node := exampleNew("a")
	defer node.Close()
	origin, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), exampleGreeter{name: "a"})
	if err != nil {
		log.Fatal(err)
	}
	client := greetv1rpcmesh.NewGreeterClient(node.Namespace("public"))

	_, err = client.Greet(ctx, &greetv1.GreetRequest{})
	_, byMesh := rpcmesh.FailureOf(err)
	fmt.Println(connect.CodeOf(err), byMesh)

	_ = origin.Unregister()
	_, err = client.Greet(ctx, &greetv1.GreetRequest{Name: "Ada"})
	_, byMesh = rpcmesh.FailureOf(err)
	info, _ := rpcmesh.ErrorInfoOf(err)
	fmt.Println(connect.CodeOf(err), byMesh, info.Reason)
	// Output:
	// invalid_argument false
	// unavailable true FUNCTION_GONE
}

// A call may wait, up to its deadline, for a function that was there and for links that are down.
func ExampleWaitForReady() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	b := exampleNew("b")
	defer b.Close()
	if _, err := b.Link("http://"+listener.Addr().String(), "public"); err != nil {
		log.Fatal(err)
	}
	answer := make(chan string)
	go func() {
		client := greetv1rpcmesh.NewGreeterClient(b.Namespace("public"))
		res, err := client.Greet(rpcmesh.WaitForReady(ctx), &greetv1.GreetRequest{Name: "Ada"})
		if err != nil {
			log.Fatal(err)
		}
		answer <- res.GetGreeting()
	}()

	// The other node comes up later.
	a := exampleNew("a")
	defer a.Close()
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(a.Namespace("public"), exampleGreeter{name: "a"}); err != nil {
		log.Fatal(err)
	}
	go func() { _ = a.Serve(ctx, listener) }()
	fmt.Println(<-answer)
	// Output: Hello Ada, this is a
}

// Watch yields what there is, and then what comes and goes.
func ExampleNamespace_Watch() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	node := exampleNew("a")
	defer node.Close()
	origin, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), exampleGreeter{name: "a"})
	if err != nil {
		log.Fatal(err)
	}
	for event := range node.Namespace("public").Watch(ctx) {
		if event.Procedure != greetv1rpcmesh.GreeterGreetProcedure {
			continue
		}
		fmt.Println(event.Kind, event.Procedure, event.NodeName)
		if event.Kind == rpcmesh.FunctionRemoved {
			break
		}
		_ = origin.Unregister()
	}
	// Output:
	// function added /example.greet.v1.Greeter/Greet a
	// function removed /example.greet.v1.Greeter/Greet a
}

// Shutdown withdraws the node's functions, lets running calls end, and closes: nothing is lost where another node
// has the functions too. A program calls it on SIGTERM, with a bound on how long calls may take.
func ExampleNode_Shutdown() {
	node := exampleNew("a")
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), exampleGreeter{name: "a"}); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := node.Shutdown(ctx); err != nil {
		log.Print("some calls were cut off: ", err)
	}
	fmt.Println("done")
	// Output: done
}

// A handler knows who calls.
func ExampleCallerFrom() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	node := exampleNew("a")
	defer node.Close()
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), doorman{}); err != nil {
		log.Fatal(err)
	}
	res, err := greetv1rpcmesh.NewGreeterClient(node.Namespace("public")).Greet(ctx, &greetv1.GreetRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.GetGreeting())
	// Output: you come from node a
}

type doorman struct {
	greetv1rpcmesh.UnimplementedGreeterServer
}

func (doorman) Greet(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	caller, ok := rpcmesh.CallerFrom(ctx)
	if !ok {
		return nil, connect.NewError(connect.CodeInternal, "not called through a node")
	}
	return &greetv1.GreetResponse{Greeting: "you come from node " + caller.NodeName}, nil
}
