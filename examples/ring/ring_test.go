package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"go.uber.org/goleak"

	"github.com/rpcmesh/rpcmesh/examples/internal/exampletest"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestTour(t *testing.T) {
	var account bytes.Buffer
	if err := command(t.Context(), nil, &account); err != nil {
		t.Fatalf("%v, after\n%s", err, &account)
	}
	exampletest.CheckAccount(t, account.String())
}

// TestStay keeps the whole ring up and calls through a proxy on its group.
func TestStay(t *testing.T) {
	for i := range places {
		address := &places[i].address
		before := *address
		*address = "127.0.0.1:0"
		t.Cleanup(func() { *address = before })
	}
	r := exampletest.Start(t, command, "-stay")
	r.WaitFor(0, "stays up until Ctrl-C. A has a gateway")
	proxy, err := rpcmesh.Dial(t.Context(), url(r), rpcmesh.ProxyConfig{Namespace: "ring", Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	for _, c := range calls {
		if _, err := c.Do(t.Context(), proxy); err != nil {
			t.Errorf("%s: %v", c.Text, err)
		}
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
}

// TestServe runs the nodes one by one, as in terminals of their own, stops one and starts it again.
func TestServe(t *testing.T) {
	c := reserve(t) // A links to C, which comes last
	a := exampletest.Start(t, command, "-serve", "a", "-listen", "127.0.0.1:0", "-link", "http://"+c)
	b := exampletest.Start(t, command, "-serve", "b", "-listen", "127.0.0.1:0", "-link", url(a))
	bURL := url(b)
	third := exampletest.Start(t, command, "-serve", "C", "-listen", c, "-link", bURL)
	a.WaitFor(0, "by A -> B:")
	a.WaitFor(0, "by A -> C:")
	b.WaitFor(0, "by B -> A:")
	b.WaitFor(0, "by B -> C:")
	third.WaitFor(0, "by C -> A:")
	third.WaitFor(0, "by C -> B:")

	markA, markC := a.Mark(), third.Mark()
	if err := b.Stop(); err != nil {
		t.Errorf("B ended with %v", err)
	}
	a.WaitFor(markA, "- Text.Reverse of B is gone")
	third.WaitFor(markC, "- Text.Reverse of B is gone")

	markA, markC = a.Mark(), third.Mark()
	exampletest.Start(t, command, "-serve", "b", "-listen", bURL[len("http://"):], "-link", url(a))
	a.WaitFor(markA, "+ Text.Reverse")
	third.WaitFor(markC, "+ Text.Reverse")
}

// reserve returns an address that a node can listen on later.
func reserve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// url returns the URL at which a node that was started alone listens.
func url(r *exampletest.Running) string {
	return regexp.MustCompile(`http://[\d.:]+`).FindString(r.WaitFor(0, "listens at"))
}

// TestProgram runs the program as a process.
func TestProgram(t *testing.T) {
	for _, tt := range []struct {
		args []string
		ok   bool
	}{
		{nil, true},
		{[]string{"-h"}, true},
		{[]string{"-serve", "z"}, false},
		{[]string{"-no-such-flag"}, false},
		{[]string{"-serve", "a", "-listen", "nowhere"}, false},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], tt.args...)
		cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
		if output, err := cmd.CombinedOutput(); (err == nil) != tt.ok {
			t.Errorf("%q: %v\n%s", tt.args, err, output)
		}
	}
}

// TestTourEnds cuts the tour short.
func TestTourEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := command(ctx, nil, new(bytes.Buffer)); err == nil {
		t.Error("it went on without a context")
	}
}
