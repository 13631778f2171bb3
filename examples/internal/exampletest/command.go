package exampletest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"time"
)

// patience is how long anything may take to be written.
const patience = 20 * time.Second

// Command is what an example does for its command line, until ctx ends or it is done.
type Command func(ctx context.Context, args []string, w io.Writer) error

// Running is a command that runs.
type Running struct {
	t      T
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done

	mu      sync.Mutex
	output  bytes.Buffer
	changed chan struct{} // closed, and replaced, at each change of output
}

// Start runs a command until the test ends, or [Running.Stop].
func Start(t T, command Command, args ...string) *Running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Running{t: t, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = command(ctx, args, r)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
	})
	return r
}

// Write takes in what the command writes.
func (r *Running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
	return r.output.Write(p)
}

// Mark returns how much the command has written.
func (r *Running) Mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.Len()
}

// WaitFor waits until, after mark, the command has written a line that has text in it, and returns it.
func (r *Running) WaitFor(mark int, text string) string {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		r.mu.Lock()
		output, changed := r.output.String(), r.changed
		r.mu.Unlock()
		for line := range strings.Lines(output[mark:]) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return line
			}
		}
		select {
		case <-changed:
		case <-r.done:
			r.t.Fatalf("the command ended (%v) without writing %q:\n%s", r.err, text, output)
		case <-timeout:
			r.t.Fatalf("the command has not written %q:\n%s", text, output)
		}
	}
}

// Stop ends the command as Ctrl-C does and returns its error.
func (r *Running) Stop() error {
	r.cancel()
	<-r.done
	return r.err
}
