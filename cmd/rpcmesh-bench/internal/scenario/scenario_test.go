package scenario

import (
	"testing"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
)

func TestNamesAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range All([]int{1, 2}) {
		if seen[s.Name()] {
			t.Errorf("two scenarios: %s", s.Name())
		}
		seen[s.Name()] = true
	}
}

func TestNameAndTitle(t *testing.T) {
	for _, test := range []struct {
		scenario    Scenario
		name, title string
	}{
		{
			Scenario{Load: Load{Kind: Unary, Payload: 64, Callers: 1}},
			"unary/64B/1/direct", "Unary, 64 B, 1 caller",
		},
		{
			Scenario{Load: Load{Kind: Throughput, Payload: 64 << 10, Callers: 64}, Relays: 2, TLS: true},
			"throughput/64KiB/64/relay2/tls", "Throughput, 64 KiB, 64 streams, TLS 1.3",
		},
		{
			Scenario{Load: Load{Kind: Paced, Payload: 1000, Rate: 24000}, Relays: 1},
			"paced/1000B/24000/relay1", "Unary, 1000 B, 24000 calls/s offered",
		},
		{
			Scenario{Load: Load{Kind: Beside, Payload: 64, Callers: 8, Bulk: 1 << 20}},
			"beside/64B/8x1MiB/direct", "One caller of 64 B beside 8 of 1 MiB",
		},
	} {
		if got := test.scenario.Name(); got != test.name {
			t.Errorf("name %q, want %q", got, test.name)
		}
		if got := test.scenario.Title(); got != test.title {
			t.Errorf("title %q, want %q", got, test.title)
		}
	}
}

func TestFits(t *testing.T) {
	broker := peer.Traits{MinRelays: 1, MaxRelays: 3}
	direct := peer.Traits{Streams: true}
	for _, test := range []struct {
		name     string
		scenario Scenario
		traits   peer.Traits
		want     bool
	}{
		{"broker, direct", Scenario{Load: Load{Kind: Unary}}, broker, false},
		{"broker, three relays", Scenario{Load: Load{Kind: Unary}, Relays: 3}, broker, true},
		{"no relays, one relay", Scenario{Load: Load{Kind: Unary}, Relays: 1}, direct, false},
		{"no streams, ping-pong", Scenario{Load: Load{Kind: PingPong}, Relays: 1}, broker, false},
		{"streams, throughput", Scenario{Load: Load{Kind: Throughput}}, direct, true},
		{"cleartext only, TLS", Scenario{Load: Load{Kind: Unary}, TLS: true}, direct, false},
	} {
		if got := test.scenario.Fits(test.traits); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// Every peer is worth its place: it runs a quick scenario.
func TestEveryPeerRunsQuickly(t *testing.T) {
	for _, p := range peer.All() {
		runs := 0
		for _, s := range All([]int{1, 2}) {
			if s.Quick && s.Fits(p.Traits()) {
				runs++
			}
		}
		if runs == 0 {
			t.Errorf("%s runs no quick scenario", p.Traits().Name)
		}
	}
}
