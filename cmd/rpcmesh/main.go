// rpcmesh runs nodes of a mesh and looks into one.
//
//	rpcmesh adopt   a node that offers the functions of a gRPC or Connect server
//	rpcmesh node    a node from a file: links, namespaces, adopted servers, a gateway
//	rpcmesh ls      list the functions of a namespace
//	rpcmesh call    make a call, in JSON
//	rpcmesh token   make a token for callers from outside
//
// Each says more with -h. A node that offers a server's functions to a mesh that listens at host:8220:
//
//	export RPCMESH_SECRET=...
//	rpcmesh adopt -namespace public -link http://host:8220 http://127.0.0.1:50051
//
// The secret of the mesh is read from a file (-secret-file) or from the environment variable RPCMESH_SECRET,
// never from the command line, which others can see.
//
// It exits with 0 when it has done its work (a node: when it was told to stop), with 1 when that failed, and
// with 2 when the command line or the configuration has a mistake. Errors and the log go to the standard
// error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// The exit codes.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

// terminal is what a command has of its process.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

// command is one subcommand. run gets what follows its name.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, t *terminal) error
}

func commands() []command {
	return []command{
		{"adopt", "a node that offers the functions of a gRPC or Connect server", runAdopt},
		{"node", "a node from a file: links, namespaces, adopted servers, a gateway", runNode},
		{"ls", "list the functions of a namespace", runList},
		{"call", "make a call, in JSON", runCall},
		{"token", "make a token for callers from outside", runToken},
		{"version", "print the version", func(_ context.Context, _ []string, t *terminal) error {
			_, err := fmt.Fprintln(t.out, rpcmesh.Version())
			return err
		}},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], &terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv})
	stop()
	os.Exit(code)
}

// usageError is a mistake in the command line or the configuration.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// run runs the command that args begin with and returns the exit code.
func run(ctx context.Context, args []string, t *terminal) int {
	if len(args) == 0 {
		usage(t.err)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(t.out)
		return exitOK
	case "-version", "--version":
		args = []string{"version"}
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:], t)
		if err == nil || errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		fmt.Fprintf(t.err, "rpcmesh %s: %s\n", c.name, plain(err.Error()))
		if _, ok := errors.AsType[*usageError](err); ok {
			return exitUsage
		}
		return exitFailed
	}
	fmt.Fprintf(t.err, "rpcmesh: there is no command %q\n\n", args[0])
	usage(t.err)
	return exitUsage
}

func usage(w io.Writer) {
	var text strings.Builder
	text.WriteString("rpcmesh runs nodes of a mesh and looks into one.\n\nusage: rpcmesh COMMAND [flags] [arguments]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&text, "  %-8s %s\n", c.name, c.summary)
	}
	text.WriteString("\nrpcmesh COMMAND -h says more.\n")
	_, _ = io.WriteString(w, text.String()) // there is nowhere to say that this failed
}
