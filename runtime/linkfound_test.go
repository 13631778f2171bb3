package rpcmesh_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/errortest"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// finds is what a link finds, at the host "a" for the most part.
type finds struct {
	*testing.T
	*rpcmeshtest.Cluster
}

// found is a mistake about a link: what there is, the URL that is linked to, and what else is configured.
type found struct {
	there     func(f finds)
	url       string // none: http://a
	configure func(f finds, cfg *rpcmesh.Config)
}

// outcome links with the default configuration, and returns what Ready says, within four seconds, and the log.
func (m found) outcome(t *testing.T) (o errortest.Outcome) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		f := finds{t, c}
		if m.there != nil {
			m.there(f)
		}
		var log lockedBuffer
		cfg := m.config(f)
		cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		link, err := mustNode(t, cfg).Link(m.at(), "public")
		if err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			err = link.Ready(ctx)
		}
		synctest.Wait() // until it is logged
		o = errortest.Failed(err, log.String())
	})
	return o
}

// atOnce is outcome of what Dial fails with at once, though nothing ends its wait.
func (m found) atOnce(t *testing.T) errortest.Outcome {
	o := m.outcome(t)
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		f := finds{t, c}
		if m.there != nil {
			m.there(f)
		}
		cfg := m.config(f)
		began := time.Now()
		p, err := rpcmesh.Dial(t.Context(), m.at(), rpcmesh.ProxyConfig{
			Namespace: "public", Secret: cfg.Secret, AcceptAnyone: cfg.AcceptAnyone, TLS: cfg.DialTLS, Dial: cfg.Dial,
		})
		if err == nil {
			p.Close()
		}
		if took := time.Since(began); connect.CodeOf(err).String() != o.Code || took > time.Second {
			t.Errorf("Dial: %v after %v", err, took)
		}
	})
	return o
}

func (m found) at() string {
	if m.url == "" {
		return rpcmeshtest.URL("a")
	}
	return m.url
}

func (m found) config(f finds) rpcmesh.Config {
	cfg := rpcmesh.Config{Name: "b", Secret: rpcmeshtest.Secret, Dial: f.Dialer("b")}
	if m.configure != nil {
		m.configure(f, &cfg)
	}
	return cfg
}

// listen returns a listener at the host "a".
func (f finds) listen() net.Listener {
	f.Helper()
	l, err := f.Listen("a")
	if err != nil {
		f.Fatal(err)
	}
	return l
}

// run runs serve until l, which the end of the test closes, is closed.
func (f finds) run(l net.Listener, serve func()) {
	var serving sync.WaitGroup
	serving.Go(serve)
	f.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
}

// serve serves h with net/http's server, in cleartext where cfg is nil.
func (f finds) serve(cfg *tls.Config, http2 bool, h http.HandlerFunc) {
	l, protocols := f.listen(), new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(http2)
	protocols.SetUnencryptedHTTP2(http2)
	server := &http.Server{Handler: h, Protocols: protocols, TLSConfig: cfg, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	f.run(l, func() {
		if cfg == nil {
			_ = server.Serve(l) // ends with the server
		} else {
			_ = server.ServeTLS(l, "", "")
		}
	})
	f.Cleanup(func() { _ = server.Close() })
}

// answers serves an HTTP status to every request, in cleartext.
func answers(status int, header ...string) func(f finds) {
	return func(f finds) {
		f.serve(nil, true, func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		})
	}
}

// saying has everybody who connects be told the same, and then nothing.
func saying(text string) func(f finds) {
	return func(f finds) {
		l := f.listen()
		f.run(l, func() {
			f.accept(l, func(nc net.Conn) {
				_, _ = io.WriteString(nc, text)
				_, _ = io.Copy(io.Discard, nc)
			})
		})
	}
}

// unserved is a listener of which no connection is accepted by who would serve it.
func unserved(f finds) {
	l := f.listen()
	f.run(l, func() { f.accept(l, func(net.Conn) { <-f.Context().Done() }) })
}

// accept gives each connection to serve, which is closed with the listener at the latest.
func (f finds) accept(l net.Listener, serve func(nc net.Conn)) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer nc.Close()
			serve(nc)
		})
	}
}

// authority issues certificates.
type authority struct {
	tls.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) authority {
	a := authority{pool: x509.NewCertPool()}
	a.Certificate = a.issue(t, func(c *x509.Certificate) { c.IsCA = true })
	a.pool.AddCert(a.Leaf)
	return a
}

// issue returns a certificate for the host "a", with what change changes of it.
func (a authority) issue(t testing.TB, change func(c *x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"a"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
	}
	change(template)
	parent, signer := template, any(key)
	if a.Leaf != nil {
		parent, signer = a.Leaf, a.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// secured is a node that serves TLS, and one that trusts its authority.
func secured(certificate func(c *x509.Certificate), serve, dial func(a authority, cfg *tls.Config)) found {
	var a authority
	return found{
		url: "https://a",
		there: func(f finds) {
			a = newAuthority(f.T)
			cfg := &tls.Config{Certificates: []tls.Certificate{a.issue(f.T, certificate)}}
			serve(a, cfg)
			f.Node("a", func(c *rpcmesh.Config) { c.TLS = cfg }).Namespace("public")
		},
		configure: func(_ finds, cfg *rpcmesh.Config) {
			cfg.DialTLS = &tls.Config{RootCAs: a.pool}
			dial(a, cfg.DialTLS)
		},
	}
}

func asItIs(authority, *tls.Config) {}

func certifiesA(*x509.Certificate) {}
