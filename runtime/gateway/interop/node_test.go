package interop

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestConnectNode calls from Node.js.
func TestConnectNode(t *testing.T) {
	m := start(t)
	node := need(t, "node")
	installed(t, "node/node_modules")
	out := run(t, true, nil, node, "node/node.mjs", m.url)
	if strings.Count(out, "ok: ") != 8 {
		t.Errorf("it wrote:\n%s", out)
	}
}

// TestConnectWeb calls from a page in a browser that comes from another origin.
func TestConnectWeb(t *testing.T) {
	m := start(t)
	chromium := need(t, "chromium")
	modules := installed(t, "node/node_modules")
	bundle := filepath.Join(t.TempDir(), "bundle.js")
	run(t, true, nil, filepath.Join(modules, ".bin", "esbuild"), "node/browser.mjs", "--bundle", "--format=esm", "--log-level=error", "--outfile="+bundle)
	results := make(chan string, 1)
	page := http.NewServeMux()
	page.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><script type="module" src="/bundle.js"></script>`)
	})
	page.HandleFunc("GET /bundle.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, bundle) })
	page.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		select {
		case results <- string(body):
		default:
		}
	})
	server := httptest.NewServer(page)
	defer server.Close()
	stop := browse(t, chromium, server.URL+"/?gateway="+url.QueryEscape(m.url))
	select {
	case result := <-results:
		if strings.Count(result, "ok: ") != 4 {
			t.Errorf("the page says:\n%s", result)
		}
		stop()
	case <-time.After(patience):
		t.Errorf("the page says nothing; the browser wrote:\n%s", stop())
	}
}

// browse opens a page in a browser of its own, until stop is called, which returns what it wrote.
func browse(t *testing.T, chromium, page string) (stop func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(), page)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it starts processes of its own
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		cancel()
		_ = cmd.Wait() // killed
		return output.String()
	}
}
