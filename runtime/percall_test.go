//go:build !race

package rpcmesh_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// cost is what something costs a node, or one call of it.
type cost struct{ allocs, bytes, locks float64 }

// TestPerCall holds what a unary call of 64 bytes costs each node on its way, each a process of its own. Locks count
// where the standard library does: bash .ci/run percall.
func TestPerCall(t *testing.T) {
	const calls = 6_400
	nodes := []*percallNode{startPercall(t, "origin", ""), nil, nil}
	nodes[1] = startPercall(t, "relay", nodes[0].url)
	nodes[2] = startPercall(t, "caller", nodes[1].url)
	for _, load := range []struct {
		callers int
		budgets []cost // of origin, relay and caller
	}{
		{1, []cost{{4.3, 350, 12.5}, {0.2, 20, 20}, {2.4, 160, 10}}},
		{64, []cost{{4.3, 350, 5}, {0.2, 20, 6}, {2.4, 160, 4}}},
	} {
		nodes[2].ask(fmt.Sprintf("call %d %d", load.callers, calls)) // so that all is there that is used again
		var before []cost
		for _, n := range nodes {
			before = append(before, n.spent())
		}
		nodes[2].ask(fmt.Sprintf("call %d %d", load.callers, calls))
		for i, n := range nodes {
			got := n.spent().since(before[i], calls)
			t.Logf("%2d callers: a call costs its %-6s %5.2f allocations, %4.0f bytes, %5.2f locks", load.callers, n.name, got.allocs, got.bytes, got.locks)
			if b := load.budgets[i]; got.allocs > b.allocs || got.bytes > b.bytes || got.locks > b.locks {
				t.Errorf("%d callers: that is more than the budget of %v allocations, %v bytes, %v locks", load.callers, b.allocs, b.bytes, b.locks)
			}
		}
	}
}

// since is what of c was spent since before, for one of so many calls.
func (c cost) since(before cost, calls float64) cost {
	return cost{(c.allocs - before.allocs) / calls, (c.bytes - before.bytes) / calls, (c.locks - before.locks) / calls}
}

// percallNode is a node in a process of its own.
type percallNode struct {
	t    *testing.T
	name string
	url  string
	in   io.Writer
	out  *bufio.Reader
}

func startPercall(t *testing.T, name, url string) *percallNode {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s", percallEnv, name, url))
	cmd.Stderr = os.Stderr
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	n := &percallNode{t: t, name: name, in: in, out: bufio.NewReader(out)}
	n.url = n.answer()
	return n
}

// answer is the next line that the node says.
func (n *percallNode) answer() string {
	n.t.Helper()
	line, err := n.out.ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error:") {
		n.t.Fatalf("%s says %q, %v", n.name, line, err)
	}
	return strings.TrimSpace(line)
}

func (n *percallNode) ask(order string) string {
	n.t.Helper()
	if _, err := fmt.Fprintln(n.in, order); err != nil {
		n.t.Fatal(err)
	}
	return n.answer()
}

// spent is what the node has spent so far.
func (n *percallNode) spent() (c cost) {
	n.t.Helper()
	if _, err := fmt.Sscan(n.ask("spent"), &c.allocs, &c.bytes, &c.locks); err != nil {
		n.t.Fatal(err)
	}
	return c
}
