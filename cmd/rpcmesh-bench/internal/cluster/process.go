package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
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

// spawn starts this executable as the role that s names, and waits until it is ready. The child is
// killed when ctx ends, when stop is called, and when this process ends.
func spawn(ctx context.Context, s start) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: s.Name, cmd: exec.CommandContext(ctx, exe), stderr: new(head)} //nolint:gosec // it is this executable
	p.cmd.Env = append(os.Environ(), roleVariable+"=1")
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
	if err := p.cmd.Start(); err != nil {
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
