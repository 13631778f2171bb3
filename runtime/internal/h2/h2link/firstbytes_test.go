package h2link

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
)

// TestPeerWithoutHTTP2: what begins otherwise than HTTP/2 does is known for what it is.
func TestPeerWithoutHTTP2(t *testing.T) {
	for name, test := range map[string]struct {
		says       string
		tls, http1 bool
	}{
		"TLS's alert":      {"\x15\x03\x03\x00\x02\x02\x46", true, false},
		"TLS's alert, cut": {"\x15\x03", true, false},
		"HTTP/1":           {"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n", false, true},
		"HTTP/1, cut":      {"HTTP/1", false, true},
		"HTTP/1 and Go":    {"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", true, true},
		"HTTP/1 and nginx": {"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<center>The plain HTTP request was sent to HTTPS port</center>", true, true},
		"SSH":              {"SSH-2.0-OpenSSH_9.6\r\n", false, false},
		"Redis":            {"-ERR unknown command 'PRI'\r\n", false, false},
		"SMTP":             {"220 mail.example ESMTP\r\n", false, false},
		"MySQL":            {"\x4a\x00\x00\x00\x0a8.0.36\x00", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, result := serverOf(t, Options{}, drainConn)
			p.request()
			// Written in two parts, and nothing after: what a stranger says need not come whole, nor end.
			_, err := io.WriteString(p.nc, test.says[:2])
			_, err2 := io.WriteString(p.nc, test.says[2:])
			p.check(err, err2)
			got := <-result
			stranger, ok := errors.AsType[*NotHTTP2Error](got)
			if !ok || stranger.TLS() != test.tls || stranger.HTTP1() != test.http1 || string(stranger.Received) != test.says {
				t.Fatalf("got %v (%+v)", got, stranger)
			}
			if connect.CodeOf(got) != connect.CodeUnavailable || strings.ContainsAny(got.Error(), "\x00\r\n") {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestCloseWithPeerWithoutHTTP2: Close in order ends, whatever a stranger says.
func TestCloseWithPeerWithoutHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		p, result := serverOver(t, near, far, Options{}, func(c *Conn) error {
			c.Close(nil)
			return nil
		})
		p.request()
		p.enqueue(func() { _, _ = io.WriteString(p.nc, "\x15\x03\x03\x00\x02\x02\x46") })
		go func() { _, _ = io.Copy(io.Discard, p.nc) }()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// TestErrorResponses: an answer that is no call's is told with what it has to say of itself.
func TestErrorResponses(t *testing.T) {
	p, result := serverOf(t, Options{}, drainConn)
	p.request()
	p.check(p.WriteSettings())
	p.head(1, true, ":status", "301", "location", "https://elsewhere.test/", "server", "nginx", "content-type", "text/html")
	want := ResponseError{Status: 301, ContentType: "text/html", Location: "https://elsewhere.test/", Server: "nginx"}
	if got, ok := errors.AsType[*ResponseError](<-result); !ok || *got != want {
		t.Errorf("got %+v", got)
	}
}

// tlsListener serves links over TLS until the test ends, and nobody who calls Accept.
func tlsListener(t *testing.T, cfg *tls.Config) string {
	inner := listen(t)
	links := NewListener(TLSListener(inner, cfg), Options{}, echoConn)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			nc, err := links.Accept()
			if err != nil {
				return
			}
			links.Release(nc)
			_ = nc.Close()
		}
	})
	t.Cleanup(func() {
		_ = links.Close()
		links.Wait()
		accepting.Wait()
	})
	return inner.Addr().String()
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// TestCleartextToTLS: who speaks HTTP/2 in cleartext where TLS is spoken is told so, in HTTP/2.
func TestCleartextToTLS(t *testing.T) {
	addr := tlsListener(t, serverTLS())
	c, err := Open(t.Context(), dialTCP(t, addr), "node.test", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(errTestOver)
	_ = c.Send(packet([]byte("hello")))
	_, err = c.Receive()
	said, ok := errors.AsType[*GoAwayError](err)
	if !ok || said.Code != http2.ErrCodeInadequateSecurity || !strings.Contains(said.Debug, "https") {
		t.Errorf("got %v", err)
	}
}

// closeAfterHandshake ends each connection as soon as TLS's handshake has failed, until the test ends.
func closeAfterHandshake(t *testing.T, cfg *tls.Config) string {
	l := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_ = tls.Server(nc, cfg).Handshake()
			_ = nc.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// TestNoClientCertificate: a dialler without the certificate that the server wants learns of that, however soon the
// server hangs up.
func TestNoClientCertificate(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := serverTLS()
		cfg.ClientAuth, cfg.MaxVersion = tls.RequireAnyClientCert, version
		for _, addr := range []string{tlsListener(t, cfg), closeAfterHandshake(t, cfg)} {
			for range 20 {
				err := sendAndReceive(t, addr)
				if alert, ok := errors.AsType[*net.OpError](err); !ok || alert.Op != "remote error" {
					t.Fatalf("%s: got %v, of %#v", tls.VersionName(version), err, errors.Unwrap(err))
				}
			}
		}
	}
}

// sendAndReceive returns what a call over TLS fails by.
func sendAndReceive(t *testing.T, addr string) error {
	t.Helper()
	c, err := Open(t.Context(), TLSClient(dialTCP(t, addr), clientTLS()), "node.test", Options{})
	if err != nil {
		return err
	}
	defer c.Close(errTestOver)
	for range 3 {
		_ = c.Send(packet(make([]byte, 10_000)))
	}
	_, err = c.Receive()
	return err
}

// TestStages: a client tells how far its call has come.
func TestStages(t *testing.T) {
	stages := make(chan Stage)
	next := make(chan struct{})
	p, result := serverOf(t, Options{}, func(c *Conn) error {
		stages <- c.Stage()
		received := make(chan error)
		go func() { received <- drainConn(c) }()
		for range 2 {
			<-next
			stages <- c.Stage()
		}
		c.Close(errTestOver)
		return fmt.Errorf("it ended: %w", <-received)
	})
	p.request()
	want := func(want Stage) {
		t.Helper()
		if got := <-stages; got != want {
			t.Errorf("stage %d, want %d", got, want)
		}
	}
	want(RequestSent)
	p.check(p.WriteSettings())
	await[*http2.SettingsFrame](p) // which acknowledges it
	next <- struct{}{}
	want(SettingsReceived)
	p.head(1, false, ":status", "200", "content-type", contentType)
	p.check(p.WritePing(false, [8]byte{}))
	await[*http2.PingFrame](p)
	next <- struct{}{}
	want(ResponseReceived)
	_ = p.nc.Close()
	<-result
}
