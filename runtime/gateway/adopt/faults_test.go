package adopt_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
)

// faults are what a user's functions can do, by the field of Config. A field that can hold some has to be entered.
var faults = map[string]struct {
	url string
	set func(cfg *adopt.Config)
}{
	"Dial": {"http://nowhere.test:1", func(cfg *adopt.Config) {
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) { panic("the password is 1234") }
	}},
	"TLS": {"https://nowhere.test:1", func(cfg *adopt.Config) {
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { _, _ = far.Read(make([]byte, 1<<16)) }() // ends when near is closed
			return near, nil
		}
		cfg.TLS = &tls.Config{Time: func() time.Time { panic("the password is 1234") }, KeyLogWriter: nil, ClientSessionCache: panicking{}}
	}},
	"Logger": {"http://127.0.0.1:1", func(cfg *adopt.Config) { cfg.Logger = slog.New(panicking{}) }},
}

// panicking panics at all that it is asked.
type panicking struct{}

func (panicking) Enabled(context.Context, slog.Level) bool   { return true }
func (panicking) Handle(context.Context, slog.Record) error  { panic("the password is 1234") }
func (p panicking) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p panicking) WithGroup(string) slog.Handler            { return p }
func (panicking) Get(string) (*tls.ClientSessionState, bool) { panic("the password is 1234") }
func (panicking) Put(string, *tls.ClientSessionState)        { panic("the password is 1234") }

// TestFaultsOfTheConfig: a function that panics keeps the server from being adopted, and nothing else.
func TestFaultsOfTheConfig(t *testing.T) {
	typ := reflect.TypeFor[adopt.Config]()
	for field := range typ.Fields() {
		switch field.Type.Kind() {
		case reflect.Func, reflect.Interface, reflect.Pointer:
			if _, ok := faults[field.Name]; !ok {
				t.Errorf("what if a function of Config.%s panics?", field.Name)
			}
		}
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var log bytes.Buffer
			cfg := quick(f.set)
			if cfg.Logger == nil {
				cfg.Logger = slog.New(slog.NewTextHandler(locked{&mu, &log}, nil))
			}
			cfg.ProbeTimeout = 100 * time.Millisecond
			a := start(t, lone(t), f.url, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := a.Ready(ctx)
			if err == nil || strings.Contains(err.Error(), "1234") {
				t.Errorf("ready: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if name != "Logger" && (!strings.Contains(log.String(), "1234") || !strings.Contains(log.String(), "faults_test.go")) {
				t.Errorf("the log has %s", log.String())
			}
		})
	}
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
