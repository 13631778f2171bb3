package cluster

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

func TestCPUsOf(t *testing.T) {
	c := cluster{options: Options{CPUs: map[string][]int{"": {0}, "relay": {1}, "relay2": {2, 3}, "load": {4}}}}
	for _, test := range []struct {
		role, name string
		want       []int
	}{
		{roleServer, "server", []int{0}},
		{roleRelay, "relay1", []int{1}},
		{roleRelay, "relay2", []int{2, 3}},
		{roleLoad, "load", []int{4}},
	} {
		got, err := c.cpusOf(test.role, test.name)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s runs on %v, %v; want %v", test.name, got, err, test.want)
		}
	}
	if got, err := (&cluster{}).cpusOf(roleServer, "server"); got != nil || err != nil {
		t.Errorf("bound to %v, %v by no option", got, err)
	}
}

// All processes of a scenario for one CPU run there, with as many processors for Go as asked for.
func TestOneCPU(t *testing.T) {
	if !machine.CanPin {
		t.Skip("processes cannot be bound here")
	}
	p, err := peer.Named("tcp")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := scenario.Scenario{Load: scenario.Load{Kind: scenario.Unary, Payload: 64, Callers: 4}, OneCPU: true, Procs: 2}
	sample, err := Measure(t.Context(), p, s, Options{
		Warmup: 10 * time.Millisecond, Window: 50 * time.Millisecond, Limit: 20 * time.Second, Profiles: dir,
	})
	if err != nil || sample.Calls <= 0 || sample.Server <= 0 || sample.Server >= sample.CPU {
		t.Errorf("measured %+v, %v", sample, err)
	}
	if sample.Voluntary+sample.Involuntary <= 0 {
		t.Error("processes that share a CPU never switched")
	}
	for _, name := range []string{"server.cpu", "server.mutex", "load.cpu", "load.mutex"} {
		file := filepath.Join(dir, "unary-64B-4-direct-1cpu-procs2.tcp."+name+".pprof")
		if info, err := os.Stat(file); err != nil || info.Size() == 0 {
			t.Errorf("no profile %s: %v", file, err)
		}
	}
}

// Every client of a load with links takes its turn.
func TestLinksTakeTurns(t *testing.T) {
	p, err := peer.Named("rpcmesh")
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	addr, err := p.Serve(ctx, "", peer.Options{Role: "server"})
	if err != nil {
		t.Fatal(err)
	}
	client, err := dialAll(ctx, p, addr, peer.Options{Role: "load"}, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 10 {
		if got, err := client.Unary(ctx, []byte("echo")); err != nil || string(got) != "echo" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	all, ok := client.(*turns)
	if !ok || len(all.clients) != 5 || all.calls.Load() != 10 {
		t.Errorf("%d calls by %T", all.calls.Load(), client)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := dialAll(ended, p, addr, peer.Options{Role: "load"}, 3); err == nil {
		t.Error("links although its time has ended")
	}
}
