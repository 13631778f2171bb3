package rpcmesh_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/errortest"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestLinkMistakes: what a link finds that does not heal by itself is told at once, by Ready and Dial, and logged.
func TestLinkMistakes(t *testing.T) {
	triggers := map[string]func(*testing.T) errortest.Outcome{}
	for _, mistakes := range []map[string]found{wrongServers(), wrongTLS(), wrongNodes()} {
		for id, m := range mistakes {
			triggers[id] = m.atOnce
		}
	}
	triggers["same-name"] = wrongNodes()["same-name"].outcome // a proxy's name is its own affair
	errortest.Check(t, &errortest.LinkMistakes, triggers)
}

// TestLinkTroubles: what may yet come up is waited for, and the log says why after three seconds.
func TestLinkTroubles(t *testing.T) {
	triggers := map[string]func(*testing.T) errortest.Outcome{}
	for id, m := range troubles() {
		triggers[id] = m.outcome
	}
	errortest.Check(t, &errortest.LinkTroubles, triggers)
}

// member is a node at the host "a" that is a member of "public".
func member(configure ...func(*rpcmesh.Config)) func(f finds) {
	return func(f finds) { f.Node("a", configure...).Namespace("public") }
}

func wrongServers() map[string]found {
	return map[string]found{
		"tls-by-http": {there: func(f finds) {
			cfg := &tls.Config{Certificates: []tls.Certificate{newAuthority(f.T).Certificate}}
			member(func(c *rpcmesh.Config) { c.TLS = cfg })(f)
		}},
		"tls-by-http-proxy": {there: saying("HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n" +
			"<center>The plain HTTP request was sent to HTTPS port</center>")},
		"tls-by-http-alert": {there: saying("\x15\x03\x03\x00\x02\x02\x46")},
		"http-by-https":     {there: member(), url: "https://a"},
		"http1": {there: func(f finds) {
			f.serve(nil, false, mustNode(f, rpcmesh.Config{Secret: rpcmeshtest.Secret}).Handler().ServeHTTP)
		}},
		"ssh":   {there: saying("SSH-2.0-OpenSSH_9.6\r\n")},
		"redis": {there: saying("-ERR unknown command 'PRI'\r\n")},
		"path": {url: "http://a/mesh", there: func(f finds) {
			member()(f)
		}},
		"other-server": {there: answers(http.StatusUnsupportedMediaType)},
		"website":      {there: answers(http.StatusOK, "Content-Type", "text/html")},
		"redirect":     {there: answers(http.StatusMovedPermanently, "Location", "https://a.example/")},
		"credentials":  {there: answers(http.StatusUnauthorized, "Server", "nginx")},
		"forbidden":    {there: answers(http.StatusForbidden, "Server", "envoy")},
		"misdirected":  {there: answers(http.StatusMisdirectedRequest)},
		"socket-not-permitted": {url: "unix:///run/node.sock", configure: func(_ finds, cfg *rpcmesh.Config) {
			cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}
			}
		}},
	}
}

func wrongTLS() map[string]found {
	taking := func(protocols ...string) func(f finds) {
		return func(f finds) {
			cfg := &tls.Config{Certificates: []tls.Certificate{newAuthority(f.T).Certificate}, NextProtos: protocols}
			l := tls.NewListener(f.listen(), cfg)
			f.run(l, func() { f.accept(l, func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) }) })
		}
	}
	distrusting := func(_ finds, cfg *rpcmesh.Config) { cfg.DialTLS = &tls.Config{InsecureSkipVerify: true} }
	return map[string]found{
		"unknown-authority": secured(certifiesA, asItIs, func(_ authority, cfg *tls.Config) { cfg.RootCAs = x509.NewCertPool() }),
		"wrong-name":        secured(func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} }, asItIs, asItIs),
		"expired":           secured(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, asItIs, asItIs),
		"not-yet-valid":     secured(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, asItIs, asItIs),
		"not-for-servers":   secured(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, asItIs, asItIs),
		"no-client-certificate": secured(certifiesA, func(a authority, cfg *tls.Config) {
			cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, a.pool
		}, asItIs),
		"no-client-certificate-1.2": secured(certifiesA, func(a authority, cfg *tls.Config) {
			cfg.ClientAuth, cfg.ClientCAs, cfg.MaxVersion = tls.RequireAndVerifyClientCert, a.pool, tls.VersionTLS12
		}, asItIs),
		"client-certificate": secured(certifiesA, func(_ authority, cfg *tls.Config) {
			cfg.ClientAuth = tls.RequireAndVerifyClientCert
			cfg.ClientCAs = x509.NewCertPool()
		}, func(a authority, cfg *tls.Config) {
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &a.Certificate, nil }
		}),
		"no-version": secured(certifiesA, func(_ authority, cfg *tls.Config) { cfg.MinVersion = tls.VersionTLS13 },
			func(_ authority, cfg *tls.Config) { cfg.MaxVersion = tls.VersionTLS12 }),
		"no-http2":     {url: "https://a", there: taking("http/1.1"), configure: distrusting},
		"no-alpn":      {url: "https://a", there: taking(), configure: distrusting},
		"tls-at-proxy": terminated(),
	}
}

// terminated is a node behind a proxy that ends TLS.
func terminated() found {
	var a authority
	return found{url: "https://a", there: func(f finds) {
		a = newAuthority(f.T)
		f.Node("behind").Namespace("public")
		l := tls.NewListener(f.listen(), &tls.Config{Certificates: []tls.Certificate{a.issue(f.T, certifiesA)}, NextProtos: []string{"h2"}})
		f.run(l, func() {
			f.accept(l, func(near net.Conn) {
				far, err := f.Dialer("a")(f.Context(), "tcp", "behind:80")
				if err != nil {
					return
				}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_, _ = io.Copy(far, near)
					far.Close()
				}()
				_, _ = io.Copy(near, far)
				near.Close()
				<-ended
			})
		})
	}, configure: func(_ finds, cfg *rpcmesh.Config) { cfg.DialTLS = &tls.Config{RootCAs: a.pool} }}
}

func wrongNodes() map[string]found {
	admits := func(err error) func(*rpcmesh.Config) {
		return func(cfg *rpcmesh.Config) {
			cfg.Secret, cfg.Authenticate = "", func(context.Context, rpcmesh.Peer) error { return err }
		}
	}
	without := func(_ finds, cfg *rpcmesh.Config) { cfg.Secret, cfg.AcceptAnyone = "", true }
	return map[string]found{
		"wrong-secret": {there: member(), configure: func(_ finds, cfg *rpcmesh.Config) { cfg.Secret = "another" }},
		"no-secret":    {there: member(), configure: without},
		"secret-here":  {there: member(admits(nil))},
		"not-admitted": {there: member(admits(errors.New("not on the list"))), configure: without},
		"same-name": {there: func(f finds) {
			member()(f)
			time.Sleep(time.Second) // fake time
		}, configure: func(_ finds, cfg *rpcmesh.Config) { cfg.Name = "a" }},
		"namespace": {there: func(f finds) { f.Node("a") }},
	}
}

// refuses has the network refuse connections with err.
func refuses(err error) func(finds, *rpcmesh.Config) {
	return func(_ finds, cfg *rpcmesh.Config) {
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
}

func troubles() map[string]found {
	missing := filepath.Join(os.TempDir(), "no-such-node.sock")
	return map[string]found{
		"no-such-host":    {configure: refuses(&net.DNSError{Name: "a", Err: "no such host", IsNotFound: true})},
		"no-name-service": {configure: refuses(&net.DNSError{Name: "a", Err: "server misbehaving", IsTemporary: true})},
		"nobody-listens":  {},
		"unreachable":     {configure: refuses(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)})},
		"no-answer":       {there: func(f finds) { f.listen(); f.Silence("a", "b") }},
		"timed-out":       {configure: refuses(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)})},
		"no-socket":       {url: "unix://" + missing, configure: func(_ finds, cfg *rpcmesh.Config) { cfg.Dial = nil }},
		"too-many-files":  {configure: refuses(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)})},
		"not-served":      {there: unserved},
		"not-served-tls":  {there: unserved, url: "https://a"},
		"whole-request": {there: func(f finds) {
			f.serve(nil, true, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
		}},
		"hangs-up": {there: func(f finds) {
			l := f.listen()
			f.run(l, func() { f.accept(l, func(net.Conn) {}) })
		}},
		"hangs-up-tls": {url: "https://a", there: func(f finds) {
			l := f.listen()
			f.run(l, func() { f.accept(l, func(net.Conn) {}) })
		}},
		"bad-gateway": {there: answers(http.StatusBadGateway, "Server", "nginx")},
		"too-large":   {there: answers(http.StatusRequestEntityTooLarge, "Server", "nginx")},
		"too-many":    {there: answers(http.StatusTooManyRequests)},
		"failing":     {there: answers(http.StatusInternalServerError)},
	}
}
