package gateway

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"connectrpc.com/connect/v2"
)

func TestClientAt(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"10.0.0.1:1", "10.0.0.1:2", true},
		{"10.0.0.1:1", "10.0.0.2:1", false},
		{"10.0.0.1:1", "[::ffff:10.0.0.1]:1", true},
		{"[2001:db8::1]:1", "[2001:db8::ffff:1]:2", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
		{"@", "", true},
		{"10.0.0.1:1", "", false},
	} {
		if same := clientByAddress(test.a) == clientByAddress(test.b); same != test.same {
			t.Errorf("%q and %q are the same client: %v", test.a, test.b, same)
		}
	}
}

// TestCallsAreCounted: whatever begins, is passed on and ends, no caller and not all together have more calls than
// they may, nobody is refused what is there, and nothing is left in the end.
func TestCallsAreCounted(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	clients := []client{clientByAddress("10.0.0.1:1"), clientByAddress("@"), clientByToken(sha256.Sum256([]byte("a"))), clientByToken(sha256.Sum256([]byte("b")))}
	const most, mostOfOne = 7, 3
	c := newCalls(most, mostOfOne)
	var running []client
	of := func(who client) (n int) {
		for _, w := range running {
			if w == who {
				n++
			}
		}
		return n
	}
	check := func(what string, err error, free bool) {
		t.Helper()
		if free != (err == nil) || err != nil && connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Fatalf("%s with %d calls: %v", what, len(running), err)
		}
	}
	for range 10_000 {
		who, i, what := clients[r.IntN(len(clients))], r.IntN(most), r.IntN(4)
		switch {
		case what < 2:
			err := c.begin(who)
			check("begin", err, len(running) < most && of(who) < mostOfOne)
			if err == nil {
				running = append(running, who)
			}
		case i >= len(running):
		case what == 2:
			from := running[i]
			err := c.transfer(from, who)
			check("pass", err, from == who || of(who) < mostOfOne)
			if err == nil {
				running[i] = who
			}
		default:
			c.end(running[i])
			running = append(running[:i], running[i+1:]...)
		}
	}
	for _, who := range running {
		c.end(who)
	}
	if c.total != 0 || len(c.byClient) != 0 {
		t.Errorf("%d calls are left, of %d callers", c.total, len(c.byClient))
	}
}
