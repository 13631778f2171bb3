package rpcmesh

import (
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
)

// configError is the error of a mistake in a Config.
func configError(format string, args ...any) error {
	return connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: "+format, args...)
}

// withDefaults checks cfg and returns a copy with its defaults filled in.
func withDefaults(cfg Config) (Config, error) {
	for _, check := range []func() error{cfg.checkIdentity, cfg.checkInterceptors, cfg.Limits.setDefaults, cfg.setTimeDefaults} {
		if err := check(); err != nil {
			return cfg, err
		}
	}
	cfg.Interceptors = slices.Clone(cfg.Interceptors)
	cfg.Addresses = slices.Clone(cfg.Addresses)
	cfg.Metadata = maps.Clone(cfg.Metadata)
	return cfg, nil
}

// checkAuthentication checks whom a node or proxy links with.
func (cfg *Config) checkAuthentication(proxy bool) error {
	secret := cfg.Secret != "" || len(cfg.Secrets) > 0
	switch {
	case secret && cfg.AcceptAnyone:
		return configError("Config.AcceptAnyone contradicts Config.Secret and Config.Secrets: set one of them")
	case cfg.AcceptAnyone && cfg.Authenticate != nil:
		return configError("Config.AcceptAnyone contradicts Config.Authenticate: set one of them")
	case secret || cfg.AcceptAnyone || cfg.Authenticate != nil:
		return nil
	case proxy:
		return configError("ProxyConfig has no Secret: set Secret to the node's, or AcceptAnyone to call whoever answers")
	}
	return configError("Config has no Secret: set Secret or Authenticate, or AcceptAnyone to link with whoever can reach this node")
}

func (cfg *Config) checkIdentity() error {
	if len(cfg.Name) > maxNameBytes || !printable(cfg.Name) {
		return configError("Config.Name must be printable text of at most %d bytes", maxNameBytes)
	}
	if n := len(cfg.Addresses); n > maxAddresses {
		return configError("Config.Addresses may have %d entries at most, and has %d", maxAddresses, n)
	}
	for i, a := range cfg.Addresses {
		if len(a) > maxAddressBytes || !printable(a) {
			return configError("Config.Addresses[%d] must be printable text of at most %d bytes", i, maxAddressBytes)
		}
	}
	size := 0
	for k, v := range cfg.Metadata {
		size += len(k) + len(v)
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return configError("Config.Metadata must be UTF-8: that of the key %.40q is not", k)
		}
	}
	if n := len(cfg.Metadata); n > maxMetadata || size > maxMetadataSize {
		return configError("Config.Metadata may have %d entries and %d bytes at most, and has %d and %d", maxMetadata, maxMetadataSize, n, size)
	}
	return nil
}

func (cfg *Config) checkInterceptors() error {
	for i, interceptor := range cfg.Interceptors {
		if interceptor == nil {
			return configError("Config.Interceptors[%d] must not be nil", i)
		}
	}
	return nil
}

func (cfg *Config) setTimeDefaults() error {
	for _, t := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&cfg.CallTimeout, DefaultCallTimeout},
		{&cfg.Keepalive, DefaultKeepalive},
		{&cfg.IdleTimeout, DefaultIdleTimeout},
		{&cfg.RedialMin, DefaultRedialMin},
		{&cfg.RedialMax, max(DefaultRedialMax, cfg.RedialMin)},
	} {
		if *t.value == 0 {
			*t.value = t.def
		}
	}
	switch {
	case cfg.LameDuck < 0:
		return configError("Config.LameDuck must not be negative, and is %v", cfg.LameDuck)
	case cfg.Keepalive < 100*time.Millisecond:
		return configError("Config.Keepalive must be 100 ms or more, and is %v", cfg.Keepalive)
	case cfg.RedialMin < time.Millisecond:
		return configError("Config.RedialMin must be 1 ms or more, and is %v", cfg.RedialMin)
	case cfg.RedialMax < cfg.RedialMin:
		return configError("Config.RedialMax must be no less than Config.RedialMin, which is %v, and is %v", cfg.RedialMin, cfg.RedialMax)
	}
	return nil
}

func (l *Limits) setDefaults() error {
	if l.MaxConns == 0 {
		l.MaxConns = DefaultMaxConns
	}
	for _, n := range []struct {
		field          string
		value          *int
		def, min, most int // most 0: any
	}{
		{"MaxMessage", &l.MaxMessage, DefaultMaxMessage, 1, maxMessageLimit},
		{"Window", &l.Window, DefaultWindow, minWindow, maxWindow},
		{"MaxCalls", &l.MaxCalls, DefaultMaxCalls, 1, DefaultMaxCalls},
		{"LinkMemory", &l.LinkMemory, DefaultLinkMemory, 1, 0},
		{"NodeMemory", &l.NodeMemory, DefaultNodeMemory, 1, 0},
		{"MaxConns", &l.MaxConns, DefaultMaxConns, 1, 0},
		{"MaxConnsPerHost", &l.MaxConnsPerHost, max(l.MaxConns/2, 1), 1, 0},
	} {
		if *n.value == 0 {
			*n.value = n.def
		}
		if n.most == 0 && *n.value < n.min {
			return configError("Limits.%s must be %d or more, and is %d", n.field, n.min, *n.value)
		}
		if n.most > 0 && (*n.value < n.min || *n.value > n.most) {
			return configError("Limits.%s must be between %d and %d, and is %d", n.field, n.min, n.most, *n.value)
		}
	}
	return nil
}
