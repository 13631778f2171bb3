package rpcmesh_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// percallEnv makes the test's executable a node of TestPerCall: its name, and the URL that it links to.
const percallEnv = "RPCMESH_TEST_PERCALL"

// runPercall is a node until its standard input ends.
func runPercall(as string) int {
	if err := servePercall(strings.Fields(as)); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

func servePercall(as []string) error {
	n, err := rpcmesh.NewNode(rpcmesh.Config{Name: as[0], Secret: "shared by these processes"})
	if err != nil {
		return err
	}
	defer n.Close()
	ns := n.Namespace("public")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if len(as) > 1 {
		if _, err := n.Link(as[1], "public"); err != nil {
			return err
		}
		if err := ns.WaitFor(ctx, greetv1rpcmesh.GreeterGreetProcedure); err != nil {
			return err
		}
	} else if _, err := greetv1rpcmesh.RegisterGreeterOrigin(ns, percallGreeter{}); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go n.Serve(context.Background(), l)
	fmt.Printf("http://%s\n", l.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := obeyPercall(ns, in.Text()); err != nil {
			return err
		}
	}
	return nil
}

// percallGreeter answers with what it is asked.
type percallGreeter struct {
	greetv1rpcmesh.UnimplementedGreeterServer
}

func (percallGreeter) Greet(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	return &greetv1.GreetResponse{Greeting: req.GetName()}, nil
}

// obeyPercall carries out one order: "spent", or "call" with how many callers and how many calls.
func obeyPercall(ns *rpcmesh.Namespace, order string) error {
	if order == "spent" {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_, err := fmt.Println(m.Mallocs, m.TotalAlloc, locksTaken())
		return err
	}
	var callers, calls int
	if _, err := fmt.Sscanf(order, "call %d %d", &callers, &calls); err != nil {
		return err
	}
	client, req := greetv1rpcmesh.NewGreeterClient(ns), &greetv1.GreetRequest{Name: strings.Repeat("x", 62)}
	failed := make([]error, callers)
	var calling sync.WaitGroup
	for i := range callers {
		calling.Go(func() {
			for range calls / callers {
				if _, err := client.Greet(context.Background(), req); err != nil {
					failed[i] = err
					return
				}
			}
		})
	}
	calling.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	_, err := fmt.Println("done")
	return err
}
