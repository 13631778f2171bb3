package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/load"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// Options hold for every measurement.
type Options struct {
	// Warmup is how long the load runs before what is measured.
	Warmup time.Duration
	// Window is how long it is measured.
	Window time.Duration
	// Limit is the time after which a measurement that hangs is given up.
	Limit time.Duration
	// Credentials serve the scenarios with TLS.
	Credentials peer.Credentials
	// Profiles is the folder for a CPU profile of each process, if they are wanted: named by scenario,
	// peer and process, of the last round.
	Profiles string
}

// A Sample is one measurement.
type Sample struct {
	// Calls is calls a second, or messages a second that came back on streams.
	Calls float64 `json:"calls_per_second"`
	// P50 and P99 are in microseconds, 0 where they are not measured.
	P50 float64 `json:"p50_us,omitempty"`
	P99 float64 `json:"p99_us,omitempty"`
	// CPU is what all processes together used a call, in microseconds. Calls that move bulk count too.
	CPU float64 `json:"cpu_us_per_call"`
	// Allocations is what all processes together allocated a call, in objects.
	Allocations float64 `json:"allocations_per_call"`
	// Bulk is the calls a second that moved bulk beside the others.
	Bulk float64 `json:"bulk_calls_per_second,omitempty"`
}

// Measure starts the processes that s needs of p, puts them under its load, and ends them.
func Measure(ctx context.Context, p peer.Peer, s scenario.Scenario, o Options) (Sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("given up after %v", o.Limit))
	defer cancel()
	c := cluster{traits: p.Traits(), scenario: s, options: o}
	defer c.stop()
	sample, err := c.measure(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return sample, err
}

// cluster is the processes of one measurement.
type cluster struct {
	traits    peer.Traits
	scenario  scenario.Scenario
	options   Options
	processes []*process
}

func (c *cluster) measure(ctx context.Context) (Sample, error) {
	entry, err := c.path(ctx)
	if err != nil {
		return Sample{}, err
	}
	generator, err := c.spawn(ctx, roleLoad, roleLoad, entry)
	if err != nil {
		return Sample{}, err
	}
	if _, err := generator.ask(request{Do: run, For: c.options.Warmup}); err != nil {
		return Sample{}, fmt.Errorf("warming up: %w", err)
	}
	if _, err := c.askAll(begin); err != nil {
		return Sample{}, err
	}
	answer, err := generator.ask(request{Do: run, For: c.options.Window})
	if err != nil {
		return Sample{}, err
	}
	used, err := c.askAll(end)
	if err != nil {
		return Sample{}, err
	}
	return sampleOf(answer.Result, used), nil
}

// path starts everything but the load, in the order that the one dials the other, and returns what the
// load is to dial.
func (c *cluster) path(ctx context.Context) (entry string, err error) {
	if !c.traits.Broker {
		server, err := c.spawn(ctx, roleServer, roleServer, "")
		if err != nil {
			return "", err
		}
		entry = server.addr
	}
	first := entry
	for i := range c.scenario.Relays {
		relay, err := c.spawn(ctx, roleRelay, fmt.Sprintf("%s%d", roleRelay, i+1), entry)
		if err != nil {
			return "", err
		}
		entry = relay.addr
		if i == 0 {
			first = entry
		}
	}
	if c.traits.Broker {
		_, err = c.spawn(ctx, roleServer, roleServer, first)
	}
	return entry, err
}

func (c *cluster) spawn(ctx context.Context, role, name, upstream string) (*process, error) {
	s := start{Peer: c.traits.Name, Role: role, Name: name, Upstream: upstream}
	if c.scenario.TLS {
		s.Credentials = c.options.Credentials
	}
	if role == roleLoad {
		s.Load = c.scenario.Load
	}
	if c.options.Profiles != "" {
		file := strings.ReplaceAll(c.scenario.Name(), "/", "-") + "." + c.traits.Name + "." + name + ".pprof"
		s.Profile = filepath.Join(c.options.Profiles, file)
	}
	p, err := spawn(ctx, s)
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, p)
	return p, nil
}

// askAll asks every process and adds up what they used.
func (c *cluster) askAll(do action) (usage, error) {
	var sum usage
	for _, p := range c.processes {
		answer, err := p.ask(request{Do: do})
		if err != nil {
			return usage{}, err
		}
		sum = sum.plus(answer.Usage)
	}
	return sum, nil
}

func (c *cluster) stop() {
	for _, p := range c.processes {
		p.stop()
	}
}

func sampleOf(res load.Result, used usage) Sample {
	all := float64(max(res.Calls+res.Bulk, 1))
	return Sample{
		Calls:       float64(res.Calls) / res.Elapsed.Seconds(),
		P50:         micros(res.P50),
		P99:         micros(res.P99),
		CPU:         micros(used.CPU) / all,
		Allocations: float64(used.Allocations) / all,
		Bulk:        float64(res.Bulk) / res.Elapsed.Seconds(),
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
