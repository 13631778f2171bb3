package rpcmesh_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

const boundedNginx = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log %[1]s/log;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen unix:%[1]s/front http2;
		location / {
			grpc_pass grpc://unix:%[1]s/node;
		}
	}
}
`

// TestThroughBoundedNginx: through an nginx of the default client_max_body_size calls fail only when it cuts a link
// for the first time.
func TestThroughBoundedNginx(t *testing.T) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("there is no nginx here")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "conf"), fmt.Appendf(nil, boundedNginx, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "node"))
	if err != nil {
		t.Fatal(err)
	}
	hub := mustNode(t, rpcmesh.Config{Name: "hub", Secret: unixSecret})
	served := make(chan error, 1)
	go func() { served <- hub.Serve(context.Background(), l) }() //nolint:usetesting // until it is closed, below
	t.Cleanup(func() {
		hub.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	mustRegister(t, hub.Namespace("public"), worker(func(_ context.Context, name string) (string, error) { return name[:1], nil }))
	startProxy(t, path, dir)
	node := mustNode(t, rpcmesh.Config{Name: "node", Secret: unixSecret, Logger: slog.New(slog.DiscardHandler)})
	link := mustLink(t, node, "unix://"+filepath.Join(dir, "front"), "public")
	call := func() error {
		_, err := do(t.Context(), node.Namespace("public"), workSpec(), strings.Repeat("x", 20_000))
		return err
	}
	for err = error(nil); err == nil; {
		err = call()
	}
	if !strings.Contains(err.Error(), "client_max_body_size 0") {
		t.Errorf("the first cut is told by %v", err)
	}
	if err := link.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for i := range 100 {
				if err := call(); err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			}
		})
	}
	callers.Wait()
}

// startProxy runs the nginx at path by the configuration in dir.
func startProxy(t *testing.T, path, dir string) {
	t.Helper()
	cmd := exec.Command(path, "-p", dir, "-c", filepath.Join(dir, "conf"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			said, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("%s", said)
		}
	})
}
