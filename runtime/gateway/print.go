package gateway

import (
	"fmt"
	"io"
	"log/slog"
)

// String describes the configuration, without tokens and their hashes.
func (cfg Config) String() string {
	return fmt.Sprintf("gateway.Config{Name: %q, Namespace: %q, Namespaces: %q, Authorize: %t, Tokens: %s, Open: %t}",
		cfg.Name, cfg.Namespace, cfg.Namespaces, cfg.Authorize != nil, cfg.Tokens, cfg.Open)
}

// Format writes [Config.String], by whatever verb.
func (cfg Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, cfg.String()) }

// LogValue is [Config.String].
func (cfg Config) LogValue() slog.Value { return slog.StringValue(cfg.String()) }

// String says how many tokens are in the set.
func (t *Tokens) String() string {
	n := 0
	if t != nil {
		if known := t.known.Load(); known != nil {
			n = len(*known)
		}
	}
	return fmt.Sprintf("%d of them", n)
}

// Format writes [Tokens.String], by whatever verb.
func (t *Tokens) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue is [Tokens.String].
func (t *Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }
