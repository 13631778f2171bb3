package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
)

// options are the flags.
type options struct {
	peers, scenarios      string
	rounds                int
	window, warmup, total time.Duration
	quick, list, json     bool
	profiles              string

	cpus   map[string][]int
	procs  []int
	quiet  float64
	events bool

	easyrpc                      string
	from, save, charts, document string
}

func parse(args []string) (options, error) {
	o := options{cpus: make(map[string][]int), procs: []int{1, 2}}
	flags := flag.NewFlagSet("rpcmesh-bench", flag.ContinueOnError)
	o.whatToMeasure(flags)
	o.howToMeasure(flags)
	o.whatToWrite(flags)
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
	case o.quiet < 0 || o.quiet > 100:
		return options{}, errors.New("-quiet must be from 0 to 100")
	}
	if o.quiet > 0 {
		if _, err := machine.Now(); err != nil {
			return options{}, fmt.Errorf("-quiet: %w", err)
		}
	}
	o.quiet /= 100
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil { //nolint:gosec // profiles are no secret
			return options{}, err
		}
	}
	return o, nil
}

func (o *options) whatToMeasure(flags *flag.FlagSet) {
	flags.StringVar(&o.peers, "peers", "", "the `names` of peers to run, with commas between (default all)")
	flags.StringVar(&o.scenarios, "scenarios", "", "a regular `expression` that scenarios' names match; or goals, for those that goals compare; or table, for those of the documentation (default all)")
	flags.BoolVar(&o.quick, "quick", false, "one round of the main scenarios, within a minute")
	flags.BoolVar(&o.list, "list", false, "print the chosen scenarios and their peers, and end")
	flags.Func("procs", "the GOMAXPROCS `numbers`, with commas between, of the scenarios that compare such (default 1,2)", o.setProcs)
	flags.StringVar(&o.easyrpc, "easyrpc", "", "a `folder` with a Python environment for EasyRpc, which is then a peer; if there is none, it is made there, by pip")
}

func (o *options) howToMeasure(flags *flag.FlagSet) {
	flags.IntVar(&o.rounds, "rounds", 5, "how often each measurement is made")
	flags.DurationVar(&o.window, "duration", time.Second, "how long one measurement takes")
	flags.DurationVar(&o.warmup, "warmup", 200*time.Millisecond, "how long each load runs before it is measured")
	flags.Func("cpus", "a `list` of CPUs, such as 0,2-3, that all processes are bound to, or with server=, relay=, relay2= or load= before it those alone; may be repeated", o.setCPUs)
	flags.Float64Var(&o.quiet, "quiet", 0, "the `percentage` of the machine's CPUs that others may use during a sample; louder ones are taken again, up to three times (default off)")
	flags.BoolVar(&o.events, "events", false, "count system calls, in a round of their own because counting slows them")
	flags.StringVar(&o.profiles, "profiles", "", "a `folder` for a CPU and a mutex profile of each process and measurement; profiling costs a little")
}

func (o *options) whatToWrite(flags *flag.FlagSet) {
	flags.BoolVar(&o.json, "json", false, "print JSON with every sample")
	flags.StringVar(&o.save, "save", "", "a `file` to write the JSON to besides")
	flags.StringVar(&o.from, "from", "", "a `file` of JSON to read instead of measuring")
	flags.StringVar(&o.charts, "charts", "", "a `folder` to draw the charts in")
	flags.StringVar(&o.document, "document", "", "the root `folder` of a checkout, in whose README.md and docs the figures and charts are replaced")
}

func (o *options) setProcs(list string) error {
	o.procs = nil
	for field := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number of processors", field)
		}
		o.procs = append(o.procs, n)
	}
	return nil
}

// processes match what a process, or all of a role, is called.
var processes = regexp.MustCompile(`^(server|load|relay\d?)$`)

func (o *options) setCPUs(value string) error {
	if !machine.CanPin {
		return fmt.Errorf("binding processes to CPUs: %w", machine.ErrUnsupported)
	}
	who, list, named := strings.Cut(value, "=")
	if !named {
		who, list = "", value
	} else if !processes.MatchString(who) {
		return fmt.Errorf("no process is called %q", who)
	}
	cpus, err := machine.ParseCPUs(list)
	o.cpus[who] = cpus
	return err
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
