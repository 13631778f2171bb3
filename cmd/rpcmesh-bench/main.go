// rpcmesh-bench measures rpcmesh beside its peers, every role a process of its own on loopback, in
// interleaved rounds, and prints tables of medians and ratios and how the project's goals stand.
//
//	go run . -quick                         # a look, within a minute
//	go run . -scenarios goals               # what the goals compare
//	go run . -rounds 7 -json > bench.json   # everything, for a machine
//	go run . -from bench.json -charts .     # charts of that
//	go run . -list                          # scenarios and peers
//
// One process plays each server, relay and load generator: this executable, started again. All of them
// end with the one that started them.
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

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := benchmark(ctx, os.Args[1:], os.Stdout, terminal(os.Stderr)); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "rpcmesh-bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func benchmark(ctx context.Context, args []string, out, progress io.Writer) error {
	if cluster.IsChild() {
		return cluster.Child(ctx)
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	rep, err := produce(ctx, o, args, out, progress)
	if err != nil || rep == nil {
		return err
	}
	if err := write(rep, o, out); err != nil {
		return err
	}
	if len(rep.Failures) > 0 {
		return fmt.Errorf("%d measurements failed", len(rep.Failures))
	}
	return nil
}

// produce reads the report that the flags name, or measures one. There is none where they ask for a list.
func produce(ctx context.Context, o options, args []string, out, progress io.Writer) (*report.Report, error) {
	if o.from != "" {
		return readReport(o.from)
	}
	peers := peer.All()
	if o.easyrpc != "" {
		p, err := peer.EasyRPC(ctx, o.easyrpc)
		if err != nil {
			return nil, fmt.Errorf("-easyrpc: %w", err)
		}
		peers = append(peers, p)
	}
	plan, err := choose(o, peers)
	if err != nil {
		return nil, err
	}
	if o.list {
		return nil, list(out, plan)
	}
	if o.quick {
		o.fit(len(plan))
	}
	rep, err := run(ctx, plan, o, progress)
	if err != nil {
		return nil, err
	}
	rep.Command = strings.TrimSpace("rpcmesh-bench " + strings.Join(args, " "))
	if o.easyrpc == "" && o.peers == "" {
		rep.Notes = append(rep.Notes, "EasyRpc was not measured: it takes -easyrpc and a folder for its Python environment")
	}
	return rep, nil
}

// terminal is f if it is one: a line that rewrites itself is of no use in a file.
func terminal(f *os.File) io.Writer {
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return f
	}
	return io.Discard
}

func list(w io.Writer, plan []measurement) error {
	var b strings.Builder
	for i, m := range plan {
		if i == 0 || plan[i-1].scenario.Name() != m.scenario.Name() {
			if i > 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%-36s", m.scenario.Name())
		}
		fmt.Fprintf(&b, " %s", m.peer.Traits().Name)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}
