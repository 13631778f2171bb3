package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/load"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
)

// readyTimeout is how long a load waits for its first answer.
const readyTimeout = 10 * time.Second

// IsChild tells whether this process was started as a role of a cluster. It is to call Child then, and
// nothing else.
func IsChild() bool { return os.Getenv(roleVariable) != "" }

// Child plays a role until its standard input ends.
func Child(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var s start
	if err := in.Decode(&s); err != nil {
		return fmt.Errorf("reading what to do: %w", err)
	}
	r := role{start: s}
	defer r.close()
	answer, err := r.open(ctx)
	for {
		if err != nil {
			answer.Error = err.Error()
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
		var req request
		if err := in.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		answer, err = r.do(ctx, req)
	}
}

// role is what a child runs.
type role struct {
	start

	generator load.Generator // the load's alone
	profile   *profile
	counters  *machine.Counters
	began     usage
}

func (r *role) open(ctx context.Context) (reply, error) {
	p, err := peer.Named(r.Peer)
	if err != nil {
		return reply{}, err
	}
	if r.Count {
		if r.counters, err = machine.Count(); err != nil { // before there is more than the runtime's own threads
			return reply{}, err
		}
	}
	o := peer.Options{Role: r.Name, Credentials: r.Credentials}
	var addr string
	switch r.Role {
	case roleServer:
		addr, err = p.Serve(ctx, r.Upstream, o)
	case roleRelay:
		addr, err = p.Relay(ctx, r.Upstream, o)
	case roleLoad:
		err = r.dial(ctx, p, o)
	default:
		err = fmt.Errorf("no such role: %q", r.Role)
	}
	return reply{Addr: addr}, err
}

func (r *role) close() {
	if r.counters != nil {
		r.counters.Close()
	}
}

func (r *role) dial(ctx context.Context, p peer.Peer, o peer.Options) error {
	client, err := dialAll(ctx, p, r.Upstream, o, max(r.Load.Links, 1))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { client.Close() })
	soon, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := load.Ready(soon, client); err != nil {
		return err
	}
	r.generator, err = load.New(ctx, client, r.Load)
	return err
}

func (r *role) do(ctx context.Context, req request) (reply, error) {
	switch req.Do {
	case begin:
		return reply{}, r.begin()
	case end:
		return r.end()
	case run:
		if r.generator == nil {
			return reply{}, fmt.Errorf("a %s makes no load", r.Role)
		}
		res, err := r.generator.Run(ctx, req.For)
		return reply{Result: res}, err
	}
	return reply{}, fmt.Errorf("no such request: %q", req.Do)
}
