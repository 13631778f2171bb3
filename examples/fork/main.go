// Command fork links eight nodes in a tree, each of which calls functions of all: three hang off one, and
// of these a chain and another fork.
//
//	go run ./examples/fork
//
// writes down how many links each call crosses, follows one call whose handler makes calls of its own,
// and ends.
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
		fmt.Fprintln(os.Stderr, "fork:", err)
		os.Exit(1)
	}
}
