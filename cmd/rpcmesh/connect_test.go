package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// authority makes certificates for 127.0.0.1.
type authority struct {
	t      *testing.T
	folder string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, folder: t.TempDir()}
	a.key = newKey(t)
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.write("ca.pem", a.cert, &a.key.PublicKey)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) path(name string) string { return filepath.Join(a.folder, name) }

func (a *authority) write(name string, cert *x509.Certificate, key *ecdsa.PublicKey) {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.replace(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// replace changes a file at once, as tools that renew certificates do.
func (a *authority) replace(name string, b []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name+".new"), b, 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(a.path(name+".new"), a.path(name)); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME.key, and returns the serial number.
func (a *authority) issue(name string) int64 {
	a.t.Helper()
	a.serial++
	key := newKey(a.t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", &x509.Certificate{
		SerialNumber: big.NewInt(100 + a.serial), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, &key.PublicKey)
	a.replace(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return 100 + a.serial
}

// shown returns the serial number of the certificate that a node shows.
func (a *authority) shown(addr string) int64 {
	a.t.Helper()
	cert, err := tls.LoadX509KeyPair(a.path("client.pem"), a.path("client.key"))
	if err != nil {
		a.t.Fatal(err)
	}
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}}
	conn, err := d.DialContext(a.t.Context(), "tcp", addr)
	if err != nil {
		a.t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// TestCertificates: nodes and commands show certificates, and those that are renewed in their files.
func TestCertificates(t *testing.T) {
	a := newAuthority(t)
	first := a.issue("server")
	a.issue("client")
	server := newGreeter(t)
	hub := start(t, "", "node", "-config", write(t, "node.json", `{
		"listen": ["127.0.0.1:0"],
		"tls": {"cert_file": "`+a.path("server.pem")+`", "key_file": "`+a.path("server.key")+`", "ca_file": "`+a.path("ca.pem")+`"}
	}`))
	addr := strings.TrimPrefix(hub.addr(), "http://")
	shows := []string{"-link", "https://" + addr, "-link-tls-ca", a.path("ca.pem"), "-link-tls-cert", a.path("client.pem"), "-link-tls-key", a.path("client.key")}
	adopter := start(t, "", append(append([]string{"adopt"}, shows...), server.url)...)
	adopter.await("adopted server up")
	adopter.await("link up")
	for _, command := range [][]string{{"ls"}, {"call", "-d", `{"name": "Ada"}`, greet}} {
		args := slices.Concat(command[:1], shows, command[1:])
		if out, log, code := do(t, "", args...); code != exitOK || !strings.Contains(out, "Greet") && !strings.Contains(out, "Hello") {
			t.Errorf("%v: %d: %s%s", command, code, out, log)
		}
	}
	if out, log, code := do(t, "", "ls", "-link", "https://"+addr, "-link-tls-ca", a.path("ca.pem"), "-timeout", "300ms"); code != exitFailed {
		t.Errorf("without a certificate: %d: %s%s", code, out, log)
	}
	if got := a.shown(addr); got != first {
		t.Errorf("certificate %d is shown, want %d", got, first)
	}
	a.replace("server.pem", []byte("half of a certifi"))
	if got := a.shown(addr); got != first {
		t.Errorf("certificate %d is shown where the file is broken, want %d", got, first)
	}
	hub.await("the certificate stays as it was")
	second := a.issue("server")
	if got := a.shown(addr); got != second {
		t.Errorf("certificate %d is shown, want the renewed %d", got, second)
	}
	hub.await("certificate read again")
}

// TestHangup: SIGHUP without anything that can be read again says so, and stops nothing.
func TestHangup(t *testing.T) {
	node := start(t, "", "node", "-config", write(t, "node.json", `{"listen": ["127.0.0.1:0"]}`))
	addr := node.addr()
	node.signal(syscall.SIGHUP)
	node.await("SIGHUP")
	if out, log, code := do(t, "", "ls", "-link", addr); code != exitOK {
		t.Errorf("%d: %s%s", code, out, log)
	}
}

// TestUnixSocket: a node listens at a Unix domain socket, also where a killed one left its own.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.sock")
	server := newGreeter(t)
	for range 2 {
		hub := start(t, "", "node", "-config", write(t, "node.json", `{"listen": ["unix://`+path+`"]}`))
		hub.await("msg=listening")
		adopter := start(t, "", "adopt", "-link", "unix://"+path, server.url)
		adopter.await("adopted server up")
		adopter.await("link up")
		if out, log, code := do(t, "", "call", "-link", "unix://"+path, "-d", `{"name": "Ada"}`, greet); code != exitOK || !strings.Contains(out, "Hello, Ada") {
			t.Errorf("call: %d: %s%s", code, out, log)
		}
		second := start(t, "", "node", "-config", write(t, "node.json", `{"listen": ["unix://`+path+`"]}`))
		if _, code := second.wait(); code != exitFailed {
			t.Errorf("a second node at one socket ended with %d", code)
		}
		for _, p := range []*process{adopter, hub} {
			p.signal(syscall.SIGKILL)
			p.wait()
		}
	}
}

// connectProxy is an HTTP proxy that connects.
type connectProxy struct {
	net.Listener
	mu    sync.Mutex
	asked []string
}

func newConnectProxy(t *testing.T, status string) *connectProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &connectProxy{Listener: l}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(conn, status) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return p
}

func (p *connectProxy) serve(conn net.Conn, status string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, req.Method+" "+req.Host+" "+req.Header.Get("Proxy-Authorization"))
	p.mu.Unlock()
	_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\n\r\n")
	to, err := net.Dial("tcp", "127.0.0.1:"+req.Host[strings.LastIndexByte(req.Host, ':')+1:])
	if err != nil || status[:3] != "200" {
		return
	}
	defer to.Close()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, to)
		_ = conn.Close()
	})
	_, _ = io.Copy(to, r)
	_ = to.Close()
	back.Wait()
}

// TestProxy: links go by way of the proxy that the environment names, with its credentials, unless it excepts
// them.
func TestProxy(t *testing.T) {
	hub := start(t, "", "node", "-config", write(t, "node.json", `{"listen": ["127.0.0.1:0"]}`))
	port := hub.addr()[strings.LastIndexByte(hub.addr(), ':')+1:]
	p := newConnectProxy(t, "200 OK")
	t.Setenv("HTTPS_PROXY", "http://user:pass@"+p.Addr().String())
	if out, log, code := do(t, "", "ls", "-link", "http://mesh.example:"+port); code != exitOK {
		t.Errorf("%d: %s%s", code, out, log)
	}
	want := "CONNECT mesh.example:" + port + " Basic " + base64.StdEncoding.EncodeToString([]byte("user:pass"))
	p.mu.Lock()
	if len(p.asked) != 1 || p.asked[0] != want {
		t.Errorf("the proxy was asked %q, want %q", p.asked, want)
	}
	p.mu.Unlock()
	if out, log, code := do(t, "", "ls", "-link", "http://127.0.0.1:"+port); code != exitOK {
		t.Errorf("loopback: %d: %s%s", code, out, log)
	}
	refusing := newConnectProxy(t, "407 Proxy Authentication Required")
	t.Setenv("HTTPS_PROXY", "http://"+refusing.Addr().String())
	if _, log, code := do(t, "", "ls", "-link", "http://mesh.example:"+port, "-timeout", "300ms"); code != exitFailed || !strings.Contains(log, "407") {
		t.Errorf("refused: %d: %s", code, log)
	}
}
