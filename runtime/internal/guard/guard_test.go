package guard

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestCall(t *testing.T) {
	var log bytes.Buffer
	own := errors.New("its own")
	if err := Call(logTo(&log), "f", func() error { return own }); !errors.Is(err, own) || log.Len() > 0 {
		t.Errorf("%v, log %s", err, log.String())
	}
	err := Call(logTo(&log), "Config.F", func() error { panic("the password is 1234") })
	if p, ok := errors.AsType[*PanicError](err); !ok || p.Error() != "Config.F panicked" {
		t.Errorf("it failed with %v", err)
	}
	for _, part := range []string{"Config.F panicked", "1234", "guard_test.go"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %q: %s", part, log.String())
		}
	}
}

func TestDial(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if Dial(log, "Dial", nil) != nil {
		t.Error("nil is no function")
	}
	for name, dial := range map[string]DialFunc{
		"a panic": func(context.Context, string, string) (net.Conn, error) { panic(1) },
		"nothing": func(context.Context, string, string) (net.Conn, error) { return nil, nil },
	} {
		if conn, err := Dial(log, "Dial", dial)(t.Context(), "tcp", "a"); conn != nil || err == nil {
			t.Errorf("%s: %v, %v", name, conn, err)
		}
	}
}

// faulty panics at all that it is asked.
type faulty struct{}

func (faulty) Enabled(context.Context, slog.Level) bool   { panic("enabled") }
func (faulty) Handle(context.Context, slog.Record) error  { panic("handle") }
func (faulty) WithAttrs([]slog.Attr) slog.Handler         { panic("attrs") }
func (faulty) WithGroup(string) slog.Handler              { panic("group") }
func (faulty) Write([]byte) (int, error)                  { panic("write") }
func (faulty) Get(string) (*tls.ClientSessionState, bool) { panic("get") }
func (faulty) Put(string, *tls.ClientSessionState)        { panic("put") }
func (faulty) Read([]byte) (int, error)                   { panic("read") }

func TestLogger(t *testing.T) {
	var fallback bytes.Buffer
	h := &handler{Handler: faulty{}, told: new(sync.Once), fallback: &fallback}
	log := slog.New(h).With("a", 1).WithGroup("g")
	log.Error("one")
	_ = log.Handler().Handle(t.Context(), slog.Record{})
	if n := strings.Count(fallback.String(), "a slog.Handler panicked"); n != 1 {
		t.Errorf("standard error has %d lines of it: %s", n, fallback.String())
	}
	var written bytes.Buffer
	Logger(logTo(&written)).With("a", 1).WithGroup("g").Warn("fine", "b", 2)
	if !strings.Contains(written.String(), "msg=fine a=1 g.b=2") {
		t.Errorf("a log that works has %s", written.String())
	}
}

// TestTLS: every function that a tls.Config may have is called so that its panic fails what asked for it. A field
// that is new to tls.Config has to be entered here.
func TestTLS(t *testing.T) {
	// These call nothing of a user's, or nothing that could be wrapped: keys are told apart by their types.
	plain := map[string]bool{"Rand": true, "Certificates": true, "RootCAs": true, "ClientCAs": true, "NameToCertificate": true, "EncryptedClientHelloKeys": true}
	if TLS(nil, "TLS", nil) != nil {
		t.Error("nil is no configuration")
	}
	var log bytes.Buffer
	bad := &tls.Config{KeyLogWriter: faulty{}, ClientSessionCache: faulty{}}
	v := reflect.ValueOf(bad).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() || plain[field.Name] {
			continue
		}
		switch field.Type.Kind() {
		case reflect.Func:
			v.Field(i).Set(reflect.MakeFunc(field.Type, func([]reflect.Value) []reflect.Value { panic("1234") }))
		case reflect.Interface:
			if v.Field(i).IsNil() {
				t.Errorf("tls.Config has %s, which is not guarded", field.Name)
			}
		case reflect.Pointer, reflect.Slice, reflect.Map:
			if k := field.Type.Elem().Kind(); k == reflect.Struct || k == reflect.Func || k == reflect.Interface {
				t.Errorf("tls.Config has %s: does it call a user's?", field.Name)
			}
		}
	}
	good := TLS(logTo(&log), "Config.TLS", bad)
	v = reflect.ValueOf(good).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() || field.Type.Kind() != reflect.Func {
			continue
		}
		t.Run(field.Name, func(t *testing.T) {
			log.Reset()
			var args []reflect.Value
			for in := range field.Type.Ins() {
				args = append(args, reflect.Zero(in))
			}
			results := v.Field(i).Call(args)
			if last := results[len(results)-1]; last.Type() == reflect.TypeFor[error]() && last.IsNil() {
				t.Error("it does not fail")
			}
			if !strings.Contains(log.String(), "Config.TLS."+field.Name+" panicked") {
				t.Errorf("the log has %s", log.String())
			}
		})
	}
	if _, err := good.KeyLogWriter.Write(nil); err == nil {
		t.Error("writing keys does not fail")
	}
	good.ClientSessionCache.Put("", nil)
	if _, ok := good.ClientSessionCache.Get(""); ok {
		t.Error("a session was found")
	}
}

// TestTLSGoesThrough: what does not panic is called as it is.
func TestTLSGoesThrough(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cert, chosen, now := new(tls.Certificate), &tls.Config{ServerName: "chosen"}, time.Unix(1, 0)
	refusal := errors.New("no")
	c := TLS(log, "TLS", &tls.Config{
		GetCertificate:        func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
		GetConfigForClient:    func(*tls.ClientHelloInfo) (*tls.Config, error) { return chosen, nil },
		VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error { return refusal },
		WrapSession:           func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return []byte("t"), refusal },
		UnwrapSession:         func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return new(tls.SessionState), refusal },
		Time:                  func() time.Time { return now },
		KeyLogWriter:          io.Discard,
		ClientSessionCache:    tls.NewLRUClientSessionCache(1),
	})
	if got, err := c.GetCertificate(nil); got != cert || err != nil {
		t.Errorf("certificate %v, %v", got, err)
	}
	if got, err := c.GetConfigForClient(nil); err != nil || got.ServerName != "chosen" {
		t.Errorf("config %v, %v", got, err)
	}
	if err := c.VerifyPeerCertificate(nil, nil); !errors.Is(err, refusal) {
		t.Errorf("verdict %v", err)
	}
	if ticket, err := c.WrapSession(tls.ConnectionState{}, nil); string(ticket) != "t" || !errors.Is(err, refusal) {
		t.Errorf("ticket %q, %v", ticket, err)
	}
	if session, err := c.UnwrapSession(nil, tls.ConnectionState{}); session == nil || !errors.Is(err, refusal) {
		t.Errorf("session %v, %v", session, err)
	}
	if n, err := c.KeyLogWriter.Write([]byte("abc")); n != 3 || err != nil || !c.Time().Equal(now) {
		t.Errorf("%d bytes, %v, at %v", n, err, c.Time())
	}
	c.ClientSessionCache.Put("k", new(tls.ClientSessionState))
	if _, ok := c.ClientSessionCache.Get("k"); !ok {
		t.Error("the session was lost")
	}
}
