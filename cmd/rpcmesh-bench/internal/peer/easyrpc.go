package peer

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// easyRPCPackages are what a virtual environment for EasyRpc is made of. uvicorn is the server that EasyRpc's
// documentation runs it by.
var easyRPCPackages = []string{"easyrpc==0.251", "uvicorn==0.54.0", "fastapi==0.165.0", "aiohttp==3.14.5", "websockets==17.4"}

//go:embed easyrpc.py
var easyRPCScript string

// easyRPCPeer is EasyRpc, the framework in Python that rpcmesh's shapes and words are from, with its default pickles.
// Its relays are servers, each linked to the one before it.
type easyRPCPeer struct{ python string }

// EasyRPC returns the peer that runs in the virtual environment in dir, which is made first if it is not there:
// that takes Python 3.11, pip and its package index.
func EasyRPC(ctx context.Context, dir string) (Peer, error) {
	python := filepath.Join(dir, "bin", "python")
	if runtime.GOOS == "windows" {
		python = filepath.Join(dir, "Scripts", "python.exe")
	}
	_, err := os.Stat(python)
	if errors.Is(err, fs.ErrNotExist) {
		err = makeEnvironment(ctx, dir, python)
	}
	if err != nil {
		return nil, err
	}
	if err := runTool(ctx, python, "-c", "import easyrpc.server, uvicorn"); err != nil {
		return nil, fmt.Errorf("%s has no EasyRpc: remove it and let it be made anew: %w", dir, err)
	}
	return easyRPCPeer{python}, nil
}

func makeEnvironment(ctx context.Context, dir, python string) error {
	if err := runTool(ctx, "python3", "-m", "venv", dir); err != nil {
		return err
	}
	install := append([]string{"-m", "pip", "install", "--quiet"}, easyRPCPackages...)
	if err := runTool(ctx, python, install...); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

// runTool runs a program and says what it said, should it fail.
func runTool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput() //nolint:gosec // Python, in the user's folder
	if err != nil {
		const last = 400 // bytes: how it failed stands at the end
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, out[max(0, len(out)-last):])
	}
	return nil
}

func (easyRPCPeer) Traits() Traits {
	return Traits{Name: "easyrpc", Note: "EasyRpc 0.251 in Python, pickles, uvicorn", MaxRelays: 2, NotGo: true}
}

func (p easyRPCPeer) Arguments() []string { return []string{p.python, "-c", easyRPCScript} }

var errNotGo = errors.New("EasyRpc runs in Python")

func (easyRPCPeer) Serve(context.Context, string, Options) (string, error) { return "", errNotGo }
func (easyRPCPeer) Relay(context.Context, string, Options) (string, error) { return "", errNotGo }
func (easyRPCPeer) Dial(context.Context, string, Options) (Client, error)  { return nil, errNotGo }
