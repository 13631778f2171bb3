// Command groups has one node stand in three namespaces, public, private and open, and see them as one.
//
//	go run ./examples/groups
//
// writes down who sees what, calls it from inside and outside, has one function fail over from member to
// member, and ends.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"
)

const runTimeout = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	err := run(ctx, os.Stdout)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "groups:", err)
		os.Exit(1)
	}
}
