package guard

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// Logger returns log as one whose handler may panic: the line is lost, and standard error has the first of these
// panics, since a log that fails cannot tell. nil is [slog.Default] as it is now, from warnings up.
func Logger(log *slog.Logger) *slog.Logger {
	if log == nil {
		log = slog.New(warnings{slog.Default().Handler()})
	}
	return slog.New(&handler{Handler: log.Handler(), told: new(sync.Once), fallback: os.Stderr})
}

type handler struct {
	slog.Handler
	told     *sync.Once
	fallback io.Writer
}

// try calls f, and tells of the first panic.
func (h *handler) try(f func() error) error {
	err := Try("a slog.Handler", f)
	if p, ok := err.(*PanicError); ok { //nolint:errorlint // Try makes it
		h.told.Do(func() { _, _ = fmt.Fprintf(h.fallback, "rpcmesh: %s: %s\n%s", p.Error(), p.Value, p.Stack) })
	}
	return err
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	_ = h.try(func() error {
		enabled = h.Handler.Enabled(ctx, level)
		return nil
	})
	return enabled
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	return h.try(func() error { return h.Handler.Handle(ctx, r) })
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func() slog.Handler { return h.Handler.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return h.with(func() slog.Handler { return h.Handler.WithGroup(name) })
}

func (h *handler) with(derive func() slog.Handler) slog.Handler {
	derived := *h
	_ = h.try(func() error {
		derived.Handler = derive()
		return nil
	})
	return &derived
}

// warnings is a handler of what a person should know.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
