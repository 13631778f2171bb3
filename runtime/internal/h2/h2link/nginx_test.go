package h2link

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const nginxConfig = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log %[1]s/log;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen unix:%[1]s/plain http2;
		listen unix:%[1]s/secure ssl http2;
		ssl_certificate %[1]s/cert;
		ssl_certificate_key %[1]s/key;
		client_max_body_size 0;
		location / {
			grpc_pass grpc://unix:%[1]s/backend;
		}
	}
}
`

// startNginx starts an nginx that passes HTTP/2 on to the socket "backend" in dir and takes it at
// "plain" and "secure".
func startNginx(t *testing.T, dir string) {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("there is no nginx here")
	}
	cert, _ := testCert()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"conf": fmt.Appendf(nil, nginxConfig, dir),
		"cert": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		"key":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, "-p", dir, "-c", filepath.Join(dir, "conf"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			said, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("%s", said)
		}
	})
}

// dialSocket connects to a socket that may have to be made yet.
func dialSocket(t *testing.T, path string) net.Conn {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for {
		nc, err := net.Dial("unix", path)
		if err == nil {
			return nc
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal(err)
		}
	}
}

// nginx stands between our ends, and between ours and a stock server.
func TestThroughNginx(t *testing.T) {
	for _, backend := range []string{"own", "stock"} {
		for _, front := range []string{"plain", "secure"} {
			t.Run(backend+" "+front, func(t *testing.T) {
				dir := socketDir(t)
				l, err := net.Listen("unix", filepath.Join(dir, "backend"))
				if err != nil {
					t.Fatal(err)
				}
				if backend == "own" {
					serveConns(t, l, Options{}, echoConn)
				} else {
					serveHTTP(t, l, stockMux("", echo))
				}
				startNginx(t, dir)
				nc := dialSocket(t, filepath.Join(dir, front))
				if front == "secure" {
					nc = tls.Client(nc, clientTLS())
				}
				c, err := Open(t.Context(), nc, "node.test", Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close(nil)
				s := connStream{c}
				for _, n := range []int{0, 64, 65530, 300_000} {
					roundTrip(t, s, noise(n))
				}
				bulk(t, s, 100, 60_000)
				if err := s.Send([]byte("fail")); err != nil {
					t.Fatal(err)
				}
				_, err = s.Receive()
				checkRefused(t, err)
			})
		}
	}
}
