//go:build linux

package rpcmesh_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

var onHosts = flag.Bool("hosts", false, "test nodes as processes on hosts of their own: network namespaces, which need root, ip and iptables")

// TestHosts has three nodes in a ring, each a process on a host of its own, and takes from it what a network
// can lose: a way in silence, a process, a host. Functions stay callable wherever there is a way.
func TestHosts(t *testing.T) {
	if !*onHosts {
		t.Skip("needs root: run it with -hosts")
	}
	n := newLAN(t)
	a := n.host("a", "c")
	b := n.host("b", "a")
	c := n.host("c", "b")
	for _, h := range []*host{a, b, c} {
		h.start()
	}
	direct := func() {
		t.Helper()
		for _, way := range []string{"a>b", "b>a", "a>c", "c>a", "b>c", "c>b"} {
			n.hosts[way[:1]].order("route", way[2:], way)
		}
	}
	direct()

	t.Log("packets between a and b are dropped: found by silence")
	begin := time.Now()
	n.run("ip", "netns", "exec", a.netns, "iptables", "-A", "INPUT", "-s", b.addr, "-j", "DROP")
	n.run("ip", "netns", "exec", a.netns, "iptables", "-A", "OUTPUT", "-d", b.addr, "-j", "DROP")
	a.within(begin, 15*time.Second, "route", "b", "a>c>b")
	b.within(begin, 15*time.Second, "route", "a", "b>c>a")
	a.want("b", "call", "b")
	b.want("a", "call", "a")
	n.run("ip", "netns", "exec", a.netns, "iptables", "-F")
	direct()

	t.Log("b is killed: its host resets its connections")
	begin = time.Now()
	b.kill()
	a.within(begin, 5*time.Second, "route", "b", "-")
	c.within(begin, 5*time.Second, "route", "b", "-")
	a.want("c", "call", "c")
	if got := a.order("call", "b"); !strings.Contains(got, "unavailable") || !strings.Contains(got, "withdrawn") {
		t.Errorf("a call of what is gone: %s", got)
	}
	b.start()
	direct()

	t.Log("c is unplugged: both sides find out, and join again")
	begin = time.Now()
	n.run("ip", "-n", n.netns, "link", "set", c.port, "down")
	a.within(begin, 15*time.Second, "route", "c", "-")
	b.within(begin, 15*time.Second, "route", "c", "-")
	c.within(begin, 15*time.Second, "route", "a", "-")
	c.within(begin, 15*time.Second, "route", "b", "-")
	a.want("b", "call", "b")
	c.want("c", "call", "c")
	n.run("ip", "-n", n.netns, "link", "set", c.port, "up")
	direct()
	for _, h := range []*host{a, b, c} {
		for name := range n.hosts {
			h.want(name, "call", name)
		}
	}
}

// lan is hosts on a switch, a network namespace each.
type lan struct {
	testing.TB
	netns string // of the switch
	hosts map[string]*host
}

func newLAN(t testing.TB) *lan {
	n := &lan{TB: t, netns: fmt.Sprintf("rpcmesh-%d", os.Getpid()), hosts: map[string]*host{}}
	n.addNetns(n.netns)
	n.run("ip", "-n", n.netns, "link", "add", "switch", "type", "bridge")
	n.run("ip", "-n", n.netns, "link", "set", "switch", "up")
	return n
}

func (n *lan) addNetns(name string) {
	n.Helper()
	n.run("ip", "netns", "add", name)
	n.Cleanup(func() { n.run("ip", "netns", "delete", name) })
}

// run runs a command that must not fail.
func (n *lan) run(name string, args ...string) {
	n.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		n.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// host is one host, and the node that runs there.
type host struct {
	lan         *lan
	name        string
	netns, port string // the host's, and the switch's port to it
	addr        string
	links       string // the name of the host that it links to

	process *exec.Cmd
	in      io.WriteCloser
	out     chan string
}

func (n *lan) host(name, links string) *host {
	n.Helper()
	h := &host{lan: n, name: name, links: links, netns: n.netns + name, port: "to-" + name}
	h.addr = hostAddr(name)
	n.hosts[name] = h
	n.addNetns(h.netns)
	n.run("ip", "-n", n.netns, "link", "add", h.port, "type", "veth", "peer", "name", "eth0", "netns", h.netns)
	n.run("ip", "-n", n.netns, "link", "set", h.port, "master", "switch", "up")
	n.run("ip", "-n", h.netns, "address", "add", h.addr+"/24", "dev", "eth0")
	n.run("ip", "-n", h.netns, "link", "set", "eth0", "up")
	n.run("ip", "-n", h.netns, "link", "set", "lo", "up")
	return h
}

// hostAddr is in a range for documentation (RFC 5737).
func hostAddr(name string) string { return fmt.Sprintf("192.0.2.%d", name[0]) }

func (h *host) start() {
	t := h.lan
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := exec.Command("ip", "netns", "exec", h.netns, exe)
	p.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s:8220 http://%s:8220", hostEnv, h.name, h.addr, hostAddr(h.links)))
	p.Stderr = os.Stderr
	in, errIn := p.StdinPipe()
	out, errOut := p.StdoutPipe()
	if errIn != nil || errOut != nil {
		t.Fatal(errIn, errOut)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.process, h.in, h.out = p, in, make(chan string)
	go func(lines chan<- string) {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}(h.out)
	t.Cleanup(h.kill)
	if got := h.answer(); got != "ready" {
		t.Fatalf("host %s: %s", h.name, got)
	}
}

func (h *host) kill() {
	if h.process == nil {
		return
	}
	_ = h.process.Process.Kill()
	for range h.out { // to the end
	}
	_ = h.process.Wait() // it was killed
	h.process = nil
}

func (h *host) answer() string {
	h.lan.Helper()
	select {
	case line := <-h.out:
		return line
	case <-time.After(2 * hostPatience):
		h.lan.Fatalf("host %s does not answer", h.name)
		return ""
	}
}

// order has the host do something and returns its answer.
func (h *host) order(words ...string) string {
	h.lan.Helper()
	if _, err := fmt.Fprintln(h.in, strings.Join(words, " ")); err != nil {
		h.lan.Fatal(err)
	}
	got := h.answer()
	if words[0] == "route" && strings.HasPrefix(got, "error") {
		h.lan.Fatalf("host %s, %s: %s", h.name, strings.Join(words, " "), got)
	}
	return got
}

func (h *host) want(want string, words ...string) {
	h.lan.Helper()
	if got := h.order(words...); got != want {
		h.lan.Errorf("host %s, %s: %s", h.name, strings.Join(words, " "), got)
	}
}

// within has the host wait for something, and says how long after begin it came about.
func (h *host) within(begin time.Time, limit time.Duration, words ...string) {
	h.lan.Helper()
	at, err := strconv.ParseInt(h.order(words...), 10, 64)
	if err != nil {
		h.lan.Fatal(err)
	}
	took := time.Unix(0, at).Sub(begin)
	h.lan.Logf("host %s: %s after %v", h.name, strings.Join(words, " "), took.Round(time.Millisecond/10))
	if took > limit {
		h.lan.Errorf("that is later than %v", limit)
	}
}
