package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
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
	// Profiles is the folder for a CPU profile and a mutex profile of each process, if they are wanted: named
	// by scenario, peer and process, of the last round.
	Profiles string
	// CPUs binds processes: the CPUs of a process by its name, else by its role, else by the empty name.
	CPUs map[string][]int
	// Count counts system calls, which slows them down.
	Count bool
}

// Measure starts the processes that s needs of p, puts them under its load, and ends them.
func Measure(ctx context.Context, p peer.Peer, s scenario.Scenario, o Options) (Sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("given up after %v", o.Limit))
	defer cancel()
	c := cluster{traits: p.Traits(), scenario: s, options: o}
	if other, ok := p.(peer.Program); ok {
		c.program = other.Arguments()
	}
	defer c.stop()
	sample, err := c.measure(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return sample, err
}

// cluster is the processes of one measurement.
type cluster struct {
	program   []string // what to start instead of this executable, if anything
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
	return c.window(generator)
}

// window measures while the generator makes its load.
func (c *cluster) window(generator *process) (Sample, error) {
	own, before, err := ownAndAll()
	if err != nil {
		return Sample{}, err
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
	ownAfter, after, err := ownAndAll()
	if err != nil {
		return Sample{}, err
	}
	var sum usage
	for _, u := range used {
		sum = sum.plus(u)
	}
	sample := sampleOf(answer.Result, sum, used[0])
	sample.Others = after.Share(before, sum.CPU+ownAfter-own)
	return sample, nil
}

// ownAndAll is what this process and what all have used. Where the system does not tell, nobody has used any.
func ownAndAll() (time.Duration, machine.Times, error) {
	all, err := machine.Now()
	if errors.Is(err, machine.ErrUnsupported) {
		err = nil
	}
	return kernelUsageNow().CPU, all, err
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
	s := start{Peer: c.traits.Name, Role: role, Name: name, Upstream: upstream, Count: c.options.Count && !c.traits.NotGo}
	if c.scenario.TLS {
		s.Credentials = c.options.Credentials
	}
	if role == roleLoad {
		s.Load = c.scenario.Load
	}
	if c.options.Profiles != "" {
		file := strings.ReplaceAll(c.scenario.Name(), "/", "-") + "." + c.traits.Name + "." + name
		s.Profile = filepath.Join(c.options.Profiles, file)
	}
	cpus, err := c.cpusOf(role, name)
	if err != nil {
		return nil, err
	}
	p, err := spawn(ctx, s, c.place(cpus))
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, p)
	return p, nil
}

// askAll asks every process, in the order they were started, and returns what each used.
func (c *cluster) askAll(do action) ([]usage, error) {
	all := make([]usage, 0, len(c.processes))
	for _, p := range c.processes {
		answer, err := p.ask(request{Do: do})
		if err != nil {
			return nil, err
		}
		all = append(all, answer.Usage)
	}
	return all, nil
}

// cpusOf are the CPUs that a process is bound to, nil if it is not.
func (c *cluster) cpusOf(role, name string) ([]int, error) {
	if c.scenario.OneCPU {
		all, err := machine.CPUs()
		if err != nil {
			return nil, err
		}
		return all[:1], nil
	}
	for _, key := range []string{name, role, ""} {
		if cpus := c.options.CPUs[key]; cpus != nil {
			return cpus, nil
		}
	}
	return nil, nil
}

func (c *cluster) place(cpus []int) place {
	return place{program: c.program, cpus: cpus, procs: c.scenario.Procs}
}

func (c *cluster) stop() {
	for _, p := range c.processes {
		p.stop()
	}
}
