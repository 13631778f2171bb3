package cluster

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// parentVariable has this test's executable spawn a server, print its address and wait.
const parentVariable = "RPCMESH_BENCH_TEST_PARENT"

func TestMain(m *testing.M) {
	var err error
	switch {
	case IsChild():
		err = Child(context.Background())
	case os.Getenv(parentVariable) != "":
		err = parent(context.Background())
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parent(ctx context.Context) error {
	p, err := spawn(ctx, start{Peer: "tcp", Role: roleServer, Name: roleServer}, place{})
	if err != nil {
		return err
	}
	fmt.Println(p.addr)
	select {}
}

func TestChildEndsWithItsParent(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), parentVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimSpace(line)
	if !listening(t, addr) {
		t.Fatalf("nothing listens at %s", addr)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	waitUntilDeaf(t, addr)
}

func TestChildEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := spawnServer(ctx, t)
	cancel()
	waitUntilDeaf(t, p.addr)
	if _, err := p.ask(request{Do: begin}); err == nil || !strings.Contains(err.Error(), "server: the process ended") {
		t.Errorf("asking a child that has ended: %v", err)
	}
}

func TestChildEndsWithItsInput(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=1")
	cmd.Stdin = strings.NewReader(`{"peer":"tcp","role":"server","name":"server"}`)
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), `{"addr":"127.0.0.1:`) {
		t.Errorf("%v; it answered %q", err, out)
	}
}

func TestChildRefuses(t *testing.T) {
	for name, s := range map[string]start{
		"no such peer": {Peer: "pigeon", Role: roleServer, Name: roleServer},
		"no such role": {Peer: "tcp", Role: "spectator", Name: "spectator"},
	} {
		if _, err := spawn(t.Context(), s, place{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := spawnServer(t.Context(), t)
	defer p.stop()
	if _, err := p.ask(request{Do: run}); err == nil || !strings.Contains(err.Error(), "a server makes no load") {
		t.Errorf("a load from a server: %v", err)
	}
	if _, err := p.ask(request{Do: begin}); err != nil {
		t.Errorf("the next request after one refused: %v", err)
	}
}

func TestHeadKeepsTheFirstLine(t *testing.T) {
	var h head
	for _, s := range []string{"panic: ", "broken\n", strings.Repeat("stack ", headLimit)} {
		if n, err := h.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("wrote %d of %d: %v", n, len(s), err)
		}
	}
	if got := h.firstLine(); got != "panic: broken" {
		t.Errorf("kept %q", got)
	}
	if len(h.kept) > headLimit {
		t.Errorf("kept %d bytes", len(h.kept))
	}
}

func spawnServer(ctx context.Context, t *testing.T) *process {
	t.Helper()
	p, err := spawn(ctx, start{Peer: "tcp", Role: roleServer, Name: roleServer}, place{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func listening(t *testing.T, addr string) bool {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// waitUntilDeaf waits until nothing listens at addr.
func waitUntilDeaf(t *testing.T, addr string) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(10 * time.Second); listening(t, addr); <-again.C {
		if time.Now().After(deadline) {
			t.Fatalf("still listening at %s", addr)
		}
	}
}
