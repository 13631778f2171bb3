package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// TestMain plays a role where this test's executable was started again.
func TestMain(m *testing.M) {
	if cluster.IsChild() {
		if err := cluster.Child(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// kinds are loads small enough for a test, one of each kind.
var kinds = []scenario.Load{
	{Kind: scenario.Unary, Payload: 64, Callers: 16},
	{Kind: scenario.Paced, Payload: 64, Rate: 1000},
	{Kind: scenario.PingPong, Payload: 64, Callers: 4},
	{Kind: scenario.Throughput, Payload: 64 << 10, Callers: 4},
	{Kind: scenario.Beside, Payload: 64, Callers: 2, Bulk: 1 << 20},
}

// Every peer carries every load that it can, over each path and over TLS, as processes.
func TestPeers(t *testing.T) {
	credentials, err := peer.NewCredentials()
	if err != nil {
		t.Fatal(err)
	}
	opts := cluster.Options{
		Warmup: 10 * time.Millisecond, Window: 40 * time.Millisecond, Limit: 20 * time.Second, Credentials: credentials,
	}
	for _, p := range peer.All() {
		t.Run(p.Traits().Name, func(t *testing.T) {
			for _, s := range smoke(p.Traits()) {
				sample, err := cluster.Measure(t.Context(), p, s, opts)
				if err != nil {
					t.Errorf("%s: %v", s.Name(), err)
				} else if sample.Calls <= 0 || sample.CPU <= 0 {
					t.Errorf("%s: measured %+v", s.Name(), sample)
				}
			}
		})
	}
}

// smoke has each kind of load over the shortest path, and unary calls over every path.
func smoke(t peer.Traits) []scenario.Scenario {
	var all []scenario.Scenario
	for _, l := range kinds {
		all = append(all, scenario.Scenario{Load: l, Relays: t.MinRelays})
	}
	for relays := t.MinRelays + 1; relays <= t.MaxRelays; relays++ {
		all = append(all, scenario.Scenario{Load: kinds[0], Relays: relays})
	}
	if t.MaxRelays > 0 {
		all = append(all, scenario.Scenario{Load: kinds[2], Relays: 1})
	}
	for relays := range 2 {
		all = append(all, scenario.Scenario{Load: kinds[0], Relays: relays, TLS: true})
	}
	return slices.DeleteFunc(all, func(s scenario.Scenario) bool { return !s.Fits(t) })
}

func TestMeasurementThatFailsIsReported(t *testing.T) {
	var out strings.Builder
	bad := []measurement{{scenario.Scenario{Load: scenario.Load{Kind: "unheard of"}}, mustPeer(t, "tcp")}}
	rep, err := run(t.Context(), bad, options{rounds: 1, window: time.Millisecond, warmup: time.Millisecond}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := rep.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	if want := `round 1, unheard of/0B/0/direct, tcp: load: no such kind of load: "unheard of"`; !strings.Contains(out.String(), want) {
		t.Errorf("the report does not say %q:\n%s", want, out.String())
	}
}

func TestRunEndsInTime(t *testing.T) {
	plan, err := choose(options{scenarios: "unary/64B/1/direct$", peers: "tcp"}, peer.All())
	if err != nil {
		t.Fatal(err)
	}
	o := options{rounds: 1_000_000, window: 20 * time.Millisecond, warmup: time.Millisecond, total: 300 * time.Millisecond}
	rep, err := run(t.Context(), plan, o, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Cells) != 1 || len(rep.Cells[0].Samples) == 0 {
		t.Error("what was measured in time is not in the report")
	}
	if last := rep.Failures[len(rep.Failures)-1]; !strings.HasPrefix(last, "ended after") {
		t.Errorf("the report does not say that it ended early: %q", rep.Failures)
	}
}

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		scenarios, peers string
		quick            bool
		want             []string
	}{
		{"^unary/64B/1/relay1$", "nats, grpc-go", false, []string{"unary/64B/1/relay1 nats", "unary/64B/1/relay1 grpc-go"}},
		{"^unary/64B/1/(direct|relay1)$", "nats", true, []string{"unary/64B/1/relay1 nats"}},
		{"^unary/64B/1024", "tcp", true, nil},
		{"(", "", false, nil},
		{"", "no-such-peer", false, nil},
	} {
		plan, err := choose(options{scenarios: test.scenarios, peers: test.peers, quick: test.quick}, peer.All())
		if (err != nil) != (test.want == nil) {
			t.Errorf("%+v: %v", test, err)
		}
		var got []string
		for _, m := range plan {
			got = append(got, m.scenario.Name()+" "+m.peer.Traits().Name)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v chooses %q", test, got)
		}
	}
}

func TestPeersTakeTurns(t *testing.T) {
	plan, err := choose(options{scenarios: "^unary/64B/1/(direct|relay1)$", peers: "grpc-go,connect-go,tcp"}, peer.All())
	if err != nil {
		t.Fatal(err)
	}
	for round, want := range []string{"gct/gct", "ctg/ctg", "tgc/tgc", "gct/gct"} {
		var got strings.Builder
		for i, m := range inRound(plan, round) {
			if i == 3 {
				got.WriteByte('/')
			}
			got.WriteByte(m.peer.Traits().Name[0])
		}
		if got.String() != want {
			t.Errorf("round %d runs %q, want %q", round, got.String(), want)
		}
	}
}

func TestQuickFitsItsTime(t *testing.T) {
	plan, err := choose(options{quick: true}, peer.All())
	if err != nil {
		t.Fatal(err)
	}
	var o options
	o.fit(len(plan))
	if need := time.Duration(len(plan)) * (o.window + o.warmup + quickStart); need > quickTotal {
		t.Errorf("%d measurements of %v take %v", len(plan), o.window, need)
	}
	if o.window < 300*time.Millisecond {
		t.Errorf("each measurement has %v only", o.window)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"extra"},
		{"-rounds", "0"},
		{"-duration", "0s"},
		{"-warmup", "-1s"},
		{"-procs", "0"},
		{"-procs", "1,many"},
		{"-quiet", "101"},
		{"-cpus", "all"},
		{"-cpus", "client=0"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q passes", args)
		}
	}
}

func mustPeer(t *testing.T, name string) peer.Peer {
	t.Helper()
	p, err := peer.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
