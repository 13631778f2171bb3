package adopt

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
)

// String describes the configuration, without the values of headers.
func (cfg Config) String() string {
	return fmt.Sprintf("adopt.Config{Namespace: %q, Policy: %v, Protocol: %v, Services: %q, Header: %q, TLS: %t}",
		cfg.Namespace, cfg.Policy, cfg.Protocol, cfg.Services, slices.Sorted(maps.Keys(cfg.Header)), cfg.TLS != nil)
}

// Format writes [Config.String], by whatever verb.
func (cfg Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, cfg.String()) }

// LogValue is [Config.String].
func (cfg Config) LogValue() slog.Value { return slog.StringValue(cfg.String()) }

// String says which server it is.
func (a *Server) String() string { return "adopted server at " + a.url.String() }

// Format writes [Server.String], by whatever verb.
func (a *Server) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// LogValue is [Server.String].
func (a *Server) LogValue() slog.Value { return slog.StringValue(a.String()) }
