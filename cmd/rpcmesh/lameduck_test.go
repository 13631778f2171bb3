package main

import (
	"net/http"
	"syscall"
	"testing"
)

// TestLameDuck: a node that is told to stop says that it is not ready and goes on, until it is told again.
func TestLameDuck(t *testing.T) {
	tokens := write(t, "tokens.json", `{"tokens": []}`)
	node := start(t, "", "node", "-config", write(t, "node.json", `{
		"listen": ["127.0.0.1:0"],
		"gateway": {"tokens_file": "`+tokens+`"},
		"lame_duck": "10m", "drain": "1s"
	}`))
	url := node.addr()
	want := func(path string, status int) {
		t.Helper()
		res, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%s answers %d, not %d", path, res.StatusCode, status)
		}
	}
	want("/readyz", http.StatusOK)
	node.signal(syscall.SIGTERM)
	node.await(`msg="lame duck"`)
	want("/readyz", http.StatusServiceUnavailable)
	want("/nothing", http.StatusNotFound)
	node.signal(syscall.SIGTERM)
	if _, code := node.wait(); code != exitOK {
		t.Errorf("it ended with %d", code)
	}
}
