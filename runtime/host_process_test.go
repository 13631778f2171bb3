package rpcmesh_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// hostEnv makes the test's executable a node of hosts_test.go: its name, the address to listen at, and the
// URLs to link to, with spaces between.
const hostEnv = "RPCMESH_TEST_HOST"

// hostPatience bounds what a host waits for.
const hostPatience = 30 * time.Second

// runHost runs a node that does what its standard input says, a line at a time, and answers each with a line.
func runHost(as string) int {
	if err := serveHost(strings.Fields(as)); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

func serveHost(as []string) error {
	name, addr, urls := as[0], as[1], as[2:]
	node, err := rpcmesh.NewNode(rpcmesh.Config{Name: name, Secret: "shared by these hosts"})
	if err != nil {
		return err
	}
	defer node.Close()
	ns := node.Namespace("public")
	if _, err := ns.Register(work(hostProcedure(name), name)); err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go node.Serve(context.Background(), l)
	for _, url := range urls {
		if _, err := node.Link(url, "public"); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		words := strings.Fields(in.Text())
		fmt.Println(obey(ns, words[0], words[1:]))
	}
	return nil
}

func hostProcedure(name string) string { return "/test.v1.Host/" + name }

// obey carries out one order. Those that wait answer with when it was so, in nanoseconds since 1970.
func obey(ns *rpcmesh.Namespace, order string, args []string) string {
	ctx, cancel := context.WithTimeout(context.Background(), hostPatience)
	defer cancel()
	switch order {
	case "call": // NAME
		spec := workSpec()
		spec.Procedure = hostProcedure(args[0])
		answer, err := do(ctx, ns, spec, "")
		if err != nil {
			return "error: " + err.Error()
		}
		return answer
	case "route": // NAME WAY: until calls of the host take that way
		return await(ctx, ns, func() string { return way(ns, args[0]) }, args[1])
	default:
		return "error: what is " + order + "?"
	}
}

// way is the way to a host, "-" where there is none.
func way(ns *rpcmesh.Namespace, name string) string {
	var names []string
	for _, hop := range ns.Route(hostProcedure(name)) {
		names = append(names, hop.Name)
	}
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ">")
}

// await waits until what is so is what is wanted: with each change of the table.
func await(ctx context.Context, ns *rpcmesh.Namespace, is func() string, want string) string {
	for range ns.Watch(ctx) {
		if is() == want {
			return fmt.Sprint(time.Now().UnixNano())
		}
	}
	return fmt.Sprintf("error: it is %q, not %q", is(), want)
}
