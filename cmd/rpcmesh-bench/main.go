// rpcmesh-bench measures rpcmesh beside its peers, every role a process of its own on loopback, in
// interleaved rounds, and prints tables of medians and ratios and how the project's goals stand.
//
//	go run . -quick                         # a look, within a minute
//	go run . -scenarios goals               # what the goals compare
//	go run . -rounds 7 -json > bench.json   # everything, for a machine
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
	"time"

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
	plan, err := choose(o.scenarios, o.peers, o.quick)
	if err != nil {
		return err
	}
	if o.list {
		return list(out, plan)
	}
	if o.quick {
		o.fit(len(plan))
	}
	rep, err := run(ctx, plan, o, progress)
	if err != nil {
		return err
	}
	rep.Command = strings.TrimSpace("rpcmesh-bench " + strings.Join(args, " "))
	if o.json {
		err = rep.WriteJSON(out)
	} else {
		err = rep.WriteText(out)
	}
	if err == nil && len(rep.Failures) > 0 {
		err = fmt.Errorf("%d measurements failed", len(rep.Failures))
	}
	return err
}

// terminal is f if it is one: a line that rewrites itself is of no use in a file.
func terminal(f *os.File) io.Writer {
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return f
	}
	return io.Discard
}

// options are the flags.
type options struct {
	peers, scenarios      string
	rounds                int
	window, warmup, total time.Duration
	quick, list, json     bool
	profiles              string
}

func parse(args []string) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("rpcmesh-bench", flag.ContinueOnError)
	flags.StringVar(&o.peers, "peers", "", "the `names` of peers to run, with commas between (default all)")
	flags.StringVar(&o.scenarios, "scenarios", "", "a regular `expression` that scenarios' names match, or goals for those that goals compare (default all)")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each measurement is made")
	flags.DurationVar(&o.window, "duration", time.Second, "how long one measurement takes")
	flags.DurationVar(&o.warmup, "warmup", 200*time.Millisecond, "how long each load runs before it is measured")
	flags.BoolVar(&o.quick, "quick", false, "one round of the main scenarios, within a minute")
	flags.BoolVar(&o.list, "list", false, "print the chosen scenarios and their peers, and end")
	flags.BoolVar(&o.json, "json", false, "print JSON with every sample")
	flags.StringVar(&o.profiles, "profiles", "", "a `folder` for a CPU profile of each process and measurement; profiling costs a little")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	switch {
	case flags.NArg() > 0:
		return options{}, fmt.Errorf("unexpected argument: %q", flags.Arg(0))
	case o.rounds < 1:
		return options{}, errors.New("-rounds must be 1 or more")
	case o.window <= 0 || o.warmup <= 0:
		return options{}, errors.New("-duration and -warmup must be above 0")
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil { //nolint:gosec // profiles are no secret
			return options{}, err
		}
	}
	return o, nil
}

const (
	quickTotal = 55 * time.Second
	// quickStart is what starting and ending the processes of one measurement takes at most, mostly.
	quickStart = 150 * time.Millisecond
)

// fit makes a quick run's times such that so many measurements end in time.
func (o *options) fit(measurements int) {
	o.rounds, o.total = 1, quickTotal
	o.warmup = 100 * time.Millisecond
	share := quickTotal/time.Duration(measurements) - quickStart - o.warmup
	o.window = min(max(share, 100*time.Millisecond), time.Second).Truncate(10 * time.Millisecond)
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

func columns() []report.Peer {
	var all []report.Peer
	for _, p := range peer.All() {
		all = append(all, report.Peer{Name: p.Traits().Name, Note: p.Traits().Note})
	}
	return all
}
