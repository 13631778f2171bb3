package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	stderr *tail
}

// spawn starts this executable as the role that s names, and waits until it is ready. The child is
// killed when ctx ends, when stop is called, and when this process ends.
func spawn(ctx context.Context, s start) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: s.Name, cmd: exec.CommandContext(ctx, exe), stderr: new(tail)} //nolint:gosec // it is this executable
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
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err == nil {
		return answer, nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the process ended")
	}
	if said := p.stderr.String(); said != "" {
		return reply{}, fmt.Errorf("%s: %w; it said: %s", p.name, err, said)
	}
	return reply{}, fmt.Errorf("%s: %w", p.name, err)
}

// stop kills the child, which has nothing to lose, and waits for its end.
func (p *process) stop() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// tail keeps the last that was written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

// tailLimit is how much a tail keeps, in bytes.
const tailLimit = 2 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	t.kept = t.kept[max(0, len(t.kept)-tailLimit):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.kept))
}
