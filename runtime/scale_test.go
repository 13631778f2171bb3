package rpcmesh_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

var (
	scaleMembers   = flag.Int("scale.members", 40, "how many members TestHubRestart has")
	scaleNodes     = flag.Int("scale.nodes", 20, "how many nodes TestLinksAtOnce has")
	scaleLinks     = flag.Int("scale.links", 40, "how many links TestLinksAtOnce has")
	scaleKeepalive = flag.Duration("scale.keepalive", 0, "Config.Keepalive in these tests; 0: the default")
	scaleWait      = flag.Duration("scale.wait", time.Minute, "how long these tests wait for a mesh to be whole")
	scaleProfile   = flag.String("scale.profile", "", "write CPU profiles to files that begin so")
)

// hubEnv makes the test's executable the hub of TestHubRestart: its address and what number of hub it is.
const hubEnv = "RPCMESH_TEST_HUB"

// TestHubRestart kills the one node that all others link to, a process of its own, and starts it again. It
// says how long it takes until every node can call every other, and what that costs. To see it at scale:
//
//	go test -run=TestHubRestart -v ./runtime -scale.members=2000
func TestHubRestart(t *testing.T) {
	s := newScale(t)
	addr := freeAddr(t)
	hub := startHub(t, addr, 1)
	for i := range *scaleMembers {
		n := s.add(s.config(fmt.Sprintf("m%04d", i)))
		if _, err := n.Link("http://"+addr, "public"); err != nil {
			t.Fatal(err)
		}
	}
	s.measure("start", hubProcedure(1))
	hub.stop()
	hub = startHub(t, addr, 2)
	s.measure("after SIGKILL", hubProcedure(2))
	hub.stop()
}

// TestHubRestartLight is TestHubRestart with members that keep nothing of what they are told, so that it shows
// what thousands of them cost the hub, and not what they cost the one machine that has them all.
//
//	go test -run=TestHubRestartLight -v ./runtime -scale.members=2000
func TestHubRestartLight(t *testing.T) {
	s := newScale(t)
	addr := freeAddr(t)
	hub := startHub(t, addr, 1)
	u := &url.URL{Scheme: "http", Host: addr}
	ctx, cancel := context.WithCancel(t.Context())
	var members []*lightMember
	var linking sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		linking.Wait()
	})
	var indexes sync.Map
	for i := range *scaleMembers {
		members = append(members, newLightMember(t, fmt.Sprintf("m%04d", i), i, u, &indexes))
	}
	for _, m := range members {
		linking.Go(func() { m.keep(ctx, s) })
	}
	known := func(i int) int { return int(members[i].knows.Load()) }
	others := len(members) - 1
	s.profile("light start", func() { s.await("start", len(members), others, known) })
	hub.stop()
	s.await("SIGKILL", len(members), 1, func(i int) int { return max(0, 1-known(i)) })
	hub = startHub(t, addr, 2)
	s.profile("light after SIGKILL", func() { s.await("after SIGKILL", len(members), others, known) })
	hub.stop()
}

// TestLinksAtOnce starts many links among many nodes at once.
//
//	go test -run=TestLinksAtOnce -v ./runtime -scale.nodes=200 -scale.links=400
func TestLinksAtOnce(t *testing.T) {
	s := newScale(t)
	var urls []string
	for i := range *scaleNodes {
		n := s.add(s.config(fmt.Sprintf("n%03d", i)))
		l := listen(t)
		s.serving.Go(func() { _ = n.Serve(context.Background(), l) }) //nolint:usetesting // it ends with the node
		urls = append(urls, "http://"+l.Addr().String())
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range *scaleLinks {
		from, to := i+1, i // a path, then whatever comes
		if from >= len(urls) {
			from, to = rnd.IntN(len(urls)), rnd.IntN(len(urls)-1)
			if to >= from {
				to++
			}
		}
		if _, err := s.nodes[from].Link(urls[to], "public"); err != nil {
			t.Fatal(err)
		}
	}
	s.measure("start")
}

// scale is the nodes of such a test in this process. Each has a function.
type scale struct {
	*testing.T
	nodes   []*rpcmesh.Node
	serving sync.WaitGroup
	lost    sync.Map // how many links, as *atomic.Int64, by why
}

func newScale(t *testing.T) *scale {
	s := &scale{T: t}
	t.Cleanup(func() {
		began, cpu := time.Now(), cpuTime()
		s.profile("close", func() {
			var closing sync.WaitGroup
			for _, n := range s.nodes {
				closing.Go(func() { n.Close() })
			}
			closing.Wait()
			s.serving.Wait()
		})
		t.Logf("all closed after %.2f s and %.2f s of CPU time", time.Since(began).Seconds(), (cpuTime() - cpu).Seconds())
	})
	return s
}

func (s *scale) config(name string) rpcmesh.Config {
	return rpcmesh.Config{
		Name: name, Secret: rpcmeshtestSecret, Keepalive: *scaleKeepalive, Logger: slog.New(&linkCounter{s}),
	}
}

func (s *scale) add(cfg rpcmesh.Config) *rpcmesh.Node {
	n, err := rpcmesh.NewNode(cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.nodes = append(s.nodes, n)
	mustRegister(s, n.Namespace("public"), work(memberProcedure(n.Name()), n.Name()))
	return n
}

func memberProcedure(name string) string { return "/test.v1.Member/" + name }

func hubProcedure(number int) string { return fmt.Sprintf("/test.v1.Hub/Hub%d", number) }

// measure waits until every node has the function of every other, and those named first.
func (s *scale) measure(what string, first ...string) {
	s.Helper()
	s.profile(what, func() { s.whole(what, first) })
}

// profile runs what with a CPU profile, if one is wanted.
func (s *scale) profile(name string, what func()) {
	if *scaleProfile == "" {
		what()
		return
	}
	f, err := os.Create(*scaleProfile + strings.ReplaceAll(name, " ", "-"))
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		s.Fatal(err)
	}
	defer pprof.StopCPUProfile()
	what()
}

func (s *scale) whole(what string, procedures []string) {
	s.Helper()
	for _, n := range s.nodes {
		procedures = append(procedures, memberProcedure(n.Name()))
	}
	known := make([]int, len(s.nodes))
	s.await(what, len(s.nodes), len(procedures), func(i int) int {
		ns := s.nodes[i].Namespace("public")
		for ; known[i] < len(procedures); known[i]++ {
			if _, ok := ns.Find(procedures[known[i]]); !ok {
				break
			}
		}
		return known[i]
	})
}

// await waits until each of n members knows all there is to know, and says what that took.
func (s *scale) await(what string, n, all int, known func(i int) int) {
	s.Helper()
	began, cpu := time.Now(), cpuTime()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for whole := 0; whole < n; <-look.C {
		whole = 0
		least, sum := all, 0
		for i := range n {
			k := known(i)
			if k >= all {
				whole++
			}
			least, sum = min(least, k), sum+k
		}
		if took := time.Since(began); took > *scaleWait {
			s.Fatalf("%s: after %v only %d of %d nodes know all; in the mean they know %d of %d, the least %d\n%s",
				what, took.Round(time.Second), whole, n, sum/n, all, least, s.losses())
		}
	}
	s.Logf("%s: %d nodes know all after %.2f s and %.2f s of CPU time in this process\n%s", what, n,
		time.Since(began).Seconds(), (cpuTime() - cpu).Seconds(), s.losses())
}

// lostLink counts a link that went down, or did not come up.
func (s *scale) lostLink(why any) {
	text, _, _ := strings.Cut(fmt.Sprint(why), " tcp ") // without addresses
	n, _ := s.lost.LoadOrStore(text, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

// losses says how many links were lost since it was called last, and why.
func (s *scale) losses() string {
	var texts []string
	for text, n := range s.lost.Range {
		if n := n.(*atomic.Int64).Swap(0); n > 0 {
			texts = append(texts, fmt.Sprintf("%d links lost: %v", n, text))
		}
	}
	slices.Sort(texts)
	return strings.Join(append(texts, ""), "\n")
}

// linkCounter counts the links that are lost, by the log.
type linkCounter struct{ s *scale }

func (*linkCounter) Enabled(context.Context, slog.Level) bool { return true }

func (c *linkCounter) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "link down" {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			c.s.lostLink(a.Value)
		}
		return true
	})
	return nil
}

func (c *linkCounter) WithAttrs([]slog.Attr) slog.Handler { return c }

func (c *linkCounter) WithGroup(string) slog.Handler { return c }

const rpcmeshtestSecret = "scale test secret"

// freeAddr is an address on loopback at which nobody listens.
func freeAddr(t *testing.T) string {
	l := listen(t)
	addr := l.Addr().String()
	l.Close()
	return addr
}

// hubProcess is the hub of TestHubRestart.
type hubProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
}

func startHub(t *testing.T, addr string, number int) *hubProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %v %s", hubEnv, addr, number, *scaleKeepalive, *scaleProfile))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &hubProcess{t: t, cmd: cmd, in: in}
	t.Cleanup(h.kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the hub says %q, %v", line, err)
	}
	return h
}

func (h *hubProcess) kill() {
	if h.cmd.ProcessState == nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
	}
}

// stop kills the hub, and says what it has used.
func (h *hubProcess) stop() {
	if *scaleProfile != "" {
		_ = h.in.Close()
		_ = h.cmd.Wait()
	}
	h.kill()
	h.t.Logf("the hub has used %.2f s of CPU time", (h.cmd.ProcessState.UserTime() + h.cmd.ProcessState.SystemTime()).Seconds())
}

// runHub is the hub's process.
func runHub(as string) int {
	if err := serveHub(strings.Fields(as)); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

func serveHub(as []string) error {
	addr, number := as[0], 0
	if _, err := fmt.Sscan(as[1], &number); err != nil {
		return err
	}
	keepalive, err := time.ParseDuration(as[2])
	if err != nil {
		return err
	}
	n, err := rpcmesh.NewNode(rpcmesh.Config{Name: "hub", Secret: rpcmeshtestSecret, Keepalive: keepalive})
	if err != nil {
		return err
	}
	if _, err := n.Namespace("public").Register(work(hubProcedure(number), "hub")); err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if len(as) > 3 {
		f, err := os.Create(as[3] + "hub" + as[1])
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer f.Close()
		defer pprof.StopCPUProfile()
	}
	go n.Serve(context.Background(), l)
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
