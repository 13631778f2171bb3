package interop

import (
	"path/filepath"
	"testing"
)

// TestGRPCPython calls with grpcio.
func TestGRPCPython(t *testing.T) {
	m := start(t)
	python := filepath.Join(installed(t, "python/venv"), "bin", "python")
	wantText(t, run(t, true, nil, python, "python/client.py", m.address), "ok: identity", "ok: gzip")
}
