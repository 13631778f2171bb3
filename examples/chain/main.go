// Command chain links nodes in a row, A <- B <- C <- D, and has each call the functions of all.
//
//	go run ./examples/chain
//
// starts all four, writes down what each call does, and ends. To see them as separate processes, start
// each in a terminal of its own, in any order:
//
//	go run ./examples/chain -serve a
//	go run ./examples/chain -serve b
//	go run ./examples/chain -serve c
//
// Each then tells which functions come and go, and calls every one that comes. Stop one with Ctrl-C and
// start it again to see the others take notice.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
)

const (
	runTimeout   = 10 * time.Second
	drainTimeout = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chain:", err)
		os.Exit(1)
	}
}

// command runs what args ask for and writes what it does to w.
func command(ctx context.Context, args []string, w io.Writer) error {
	flags := flag.NewFlagSet("chain", flag.ContinueOnError)
	only := flags.String("serve", "", "run only this `node`, a, b, c or d, until Ctrl-C")
	listen := flags.String("listen", "", "with -serve: the `address` to listen on (default 127.0.0.1:8220 for a, 8221 for b, ...)")
	link := flags.String("link", "", "with -serve: the `URL` to link to (default: where the node to the left listens by default)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *only != "" {
		return serve(ctx, w, *only, *listen, *link)
	}
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	return run(ctx, w)
}

// serve runs one node until ctx ends, and writes to w what it sees of the others.
func serve(ctx context.Context, w io.Writer, name, listen, link string) error {
	i := slices.IndexFunc(chain, func(p place) bool { return strings.EqualFold(p.name, name) })
	if i < 0 {
		return fmt.Errorf("-serve %s: there is no such node", name)
	}
	if listen == "" {
		listen = chain[i].address
	}
	if link == "" && i > 0 {
		link = "http://" + chain[i-1].address
	}
	node, err := start(chain[i], listen, link)
	if err != nil {
		return err
	}
	defer node.Close()
	fmt.Fprintf(w, "%s listens at %s, %s, %s\n", node.Name(), node.URL, linksTo(chain[i]), offers(node))
	account.Follow(ctx, w, node.Namespace(namespace), calls)
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return node.Shutdown(drain)
}
