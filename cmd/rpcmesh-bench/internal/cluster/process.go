package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
)

// process is a child as its parent sees it. It is not safe for concurrent use.
type process struct {
	name   string
	addr   string
	cmd    *exec.Cmd
	in     *json.Encoder
	out    *json.Decoder
	stderr *head
}

// place is where a process runs, and what.
type place struct {
	program []string // instead of this executable, if there is any
	cpus    []int    // it may run on; nil means any
	procs   int      // its GOMAXPROCS, 0 for Go's default
}

func (l place) command(ctx context.Context) (*exec.Cmd, error) {
	program := l.program
	if len(program) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		program = []string{exe}
	}
	cmd := exec.CommandContext(ctx, program[0], program[1:]...) //nolint:gosec // this executable, or what the user named
	cmd.Env = append(os.Environ(), roleVariable+"=1")
	if l.procs > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOMAXPROCS=%d", l.procs))
	}
	return cmd, nil
}

// spawn starts the role that s names, and waits until it is ready. The child is killed when ctx ends, when stop
// is called, and when this process ends.
func spawn(ctx context.Context, s start, where place) (*process, error) {
	cmd, err := where.command(ctx)
	if err != nil {
		return nil, err
	}
	p := &process{name: s.Name, cmd: cmd, stderr: new(head)}
	p.cmd.Stderr = p.stderr
	p.cmd.SysProcAttr = bound()
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out = json.NewEncoder(in), json.NewDecoder(out)
	if err := machine.OnCPUs(where.cpus, p.cmd.Start); err != nil {
		return nil, err
	}
	answer, err := p.exchange(s)
	if err != nil {
		p.stop()
		return nil, err
	}
	p.addr = answer.Addr
	return p, nil
}

// ask has the child carry out req.
func (p *process) ask(req request) (reply, error) { return p.exchange(req) }

func (p *process) exchange(message any) (reply, error) {
	var answer reply
	err := p.in.Encode(message)
	if err == nil {
		err = p.out.Decode(&answer)
	}
	if err != nil {
		p.stop() // and with it what it said has come in
		err = fmt.Errorf("%s: the process ended: %w", p.name, err)
		if said := p.stderr.firstLine(); said != "" {
			err = fmt.Errorf("%w; it said: %s", err, said)
		}
		return reply{}, err
	}
	if answer.Error != "" {
		return reply{}, fmt.Errorf("%s: %s", p.name, answer.Error)
	}
	return answer, nil
}

// stop kills the child, which has nothing to lose, and waits for its end.
func (p *process) stop() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// head keeps the beginning of what is written to it: a crash says first what it is.
type head struct {
	mu   sync.Mutex
	kept []byte
}

// headLimit is how much a head keeps, in bytes.
const headLimit = 512

func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, b[:min(len(b), headLimit-len(h.kept))]...)
	return len(b), nil
}

func (h *head) firstLine() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(string(h.kept)), "\n")
	return line
}
