// Command ring links three nodes in a ring, of two namespaces seen as one, and cuts each link in turn.
//
//	go run ./examples/ring
//
// writes down which way each call takes before and after, and ends. With -stay the ring then stays up
// until Ctrl-C, and A has a gateway for callers from outside. To run the nodes as separate processes, start each in a terminal of its own, in any order:
//
//	go run ./examples/ring -serve a
//	go run ./examples/ring -serve b
//	go run ./examples/ring -serve c
//
// Each then tells which functions come, go and change their route. Stop one with Ctrl-C and start it
// again to see the others take notice.
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
	"github.com/rpcmesh/rpcmesh/examples/internal/loopback"
)

const (
	tourTimeout  = 15 * time.Second
	drainTimeout = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "ring:", err)
		os.Exit(1)
	}
}

// command runs what args ask for and writes what it does to w.
func command(ctx context.Context, args []string, w io.Writer) error {
	flags := flag.NewFlagSet("ring", flag.ContinueOnError)
	stay := flags.Bool("stay", false, "keep the ring up, on the ports 8230 to 8232, until Ctrl-C, with a gateway at A's")
	only := flags.String("serve", "", "run only this `node`, a, b or c, until Ctrl-C")
	listen := flags.String("listen", "", "with -serve: the `address` to listen on (default 127.0.0.1:8230 for a, 8231 for b, 8232 for c)")
	link := flags.String("link", "", "with -serve: the `URL` to link to (default: where c listens by default for a, a for b, b for c)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *only != "" {
		return serve(ctx, w, *only, *listen, *link)
	}
	return serveAll(ctx, w, *stay)
}

// serveAll runs the whole ring: for the tour and, with stay, until ctx ends.
func serveAll(ctx context.Context, w io.Writer, stay bool) error {
	var nodes []*node
	defer func() {
		for _, n := range nodes {
			_ = n.Close() // always nil
		}
	}()
	url := map[string]string{}
	for _, p := range places {
		addr := loopback.AnyPort
		if stay {
			addr = p.address
		}
		n, err := start(p, addr)
		if err != nil {
			return err
		}
		nodes, url[p.name] = append(nodes, n), n.URL
	}
	for _, n := range nodes {
		if err := n.linkTo(url[n.next]); err != nil {
			return err
		}
	}
	touring, cancel := context.WithTimeout(ctx, tourTimeout)
	defer cancel()
	if err := tour(touring, w, nodes); err != nil || !stay {
		return err
	}
	if err := nodes[0].open(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nThe ring stays up until Ctrl-C. %s has a gateway at %s.\n", nodes[0].name, nodes[0].URL)
	<-ctx.Done()
	return nil
}

// serve runs one node until ctx ends, and writes to w what it sees of the others.
func serve(ctx context.Context, w io.Writer, name, listen, link string) error {
	i := slices.IndexFunc(places, func(p place) bool { return strings.EqualFold(p.name, name) })
	if i < 0 {
		return fmt.Errorf("-serve %s: there is no such node", name)
	}
	if listen == "" {
		listen = places[i].address
	}
	if link == "" {
		next := slices.IndexFunc(places, func(p place) bool { return p.name == places[i].next })
		link = "http://" + places[next].address
	}
	n, err := start(places[i], listen)
	if err != nil {
		return err
	}
	defer n.Close()
	if err := n.linkTo(link); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s listens at %s and links to %s at %s, in namespace %s\n", n.name, n.URL, n.next, link, n.namespace)
	account.Follow(ctx, w, n.ring, ofOthers(i))
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return n.Shutdown(drain)
}
