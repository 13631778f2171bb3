package h2link

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// What is no link's gets to net/http untouched, by every protocol.
func TestListenerLeavesOthersToHTTP(t *testing.T) {
	for _, secure := range []bool{false, true} {
		var cfg *tls.Config
		scheme := "http"
		if secure {
			cfg, scheme = serverTLS(), "https"
		}
		inner, l := listenTLS(t, cfg)
		links := NewListener(l, Options{}, echoConn)
		t.Cleanup(links.Wait)
		serveHTTP(t, links, stockMux("", echo))
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			p := new(http.Protocols)
			p.SetHTTP1(proto == "HTTP/1.1")
			p.SetHTTP2(proto == "HTTP/2.0" && secure)
			p.SetUnencryptedHTTP2(proto == "HTTP/2.0" && !secure)
			_, pool := testCert()
			tr := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{RootCAs: pool}}
			res, err := (&http.Client{Transport: tr}).Get(scheme + "://" + inner.Addr().String() + "/hello")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if want := "hello over " + proto; string(body) != want || err != nil {
				t.Errorf("got %q, %v, want %q", body, err, want)
			}
			tr.CloseIdleConnections()
		}
		c := dialConn(t, inner.Addr().String(), map[bool]*tls.Config{true: clientTLS()}[secure], Options{})
		roundTrip(t, connStream{c}, []byte("a link"))
	}
}

// A dialler finds a server that knows nothing of its mark or its ALPN protocol as good as its own.
func TestListenerKnowsItsDiallers(t *testing.T) {
	for _, secure := range []bool{false, true} {
		var sc, cc *tls.Config
		if secure {
			sc, cc = serverTLS(), clientTLS()
		}
		inner, l := listenTLS(t, sc)
		seen := make(chan *Conn, 1)
		links := NewListener(l, Options{}, func(c *Conn) error {
			seen <- c
			return echoConn(c)
		})
		t.Cleanup(links.Wait)
		serveHTTP(t, links, http.NotFoundHandler())
		c := dialConn(t, inner.Addr().String(), cc, Options{})
		s := <-seen
		if s.RemoteAddr().String() != c.LocalAddr().String() {
			t.Errorf("the link is from %s, not %s", s.RemoteAddr(), c.LocalAddr())
		}
		near, err1 := c.Binding()
		far, err2 := s.Binding()
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(near, far) || (len(near) == 32) != secure {
			t.Errorf("got bindings %x and %x, %v", near, far, err)
		}
	}
}

func TestDetectProtocol(t *testing.T) {
	marked := firstBytes(t, http2.Setting{ID: http2.SettingEnablePush}, http2.Setting{ID: settingLink, Val: settingLinkValue})
	for i := range marked {
		if v := detectProtocol(marked[:i]); v != protocolUnknown {
			t.Errorf("judged %v by %d bytes", v, i)
		}
	}
	if detectProtocol(marked) != protocolLink || detectProtocol(append(marked, "more"...)) != protocolLink {
		t.Error("the mark was not seen")
	}
	if len(marked) > sniffSize {
		t.Error("the mark does not fit what is sniffed")
	}
	ack := append([]byte(http2.ClientPreface), 0, 0, 0, 4, 1, 0, 0, 0, 0)
	for name, p := range map[string][]byte{
		"HTTP/1":     []byte("G"),
		"h2 upgrade": []byte("PRI * HTTP/1.1\r\n"),
	} {
		if v := detectProtocol(p); v != protocolOther {
			t.Errorf("judged %v: %s", v, name)
		}
	}
	for name, p := range map[string][]byte{
		"no mark":       firstBytes(t, http2.Setting{ID: http2.SettingEnablePush}),
		"no settings":   firstBytes(t),
		"other value":   firstBytes(t, http2.Setting{ID: settingLink, Val: 1}),
		"many settings": firstBytes(t, make([]http2.Setting, 17)...),
		"ack":           ack,
		"other frame":   append([]byte(http2.ClientPreface), 0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8),
		"long frame":    append([]byte(http2.ClientPreface), 9, 0, 0, 4, 0, 0, 0, 0, 0),
	} {
		if v := detectProtocol(p); v != protocolHTTP2 {
			t.Errorf("judged %v: %s", v, name)
		}
	}
}

func firstBytes(t testing.TB, settings ...http2.Setting) []byte {
	var b strings.Builder
	b.WriteString(http2.ClientPreface)
	if err := http2.NewFramer(&b, nil).WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

// pipeListener accepts pipes.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

// Who is slow to say what it is gets to net/http when its time is over, with what it has said; the
// others do not wait for it.
func TestListenerDoesNotWaitForTheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		links := NewListener(inner, Options{HandshakeTimeout: 3 * time.Second}, echoConn)
		silent, halting := inner.dial(), inner.dial()
		defer silent.Close()
		defer halting.Close()
		go func() { _, _ = halting.Write([]byte("PRI")) }()
		start := time.Now()
		c, err := Open(t.Context(), inner.dial(), "node.test", Options{})
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, connStream{c}, []byte("hello"))
		c.Close(nil)
		if time.Since(start) != 0 {
			t.Error("a link waited for others")
		}
		for range 2 {
			nc, err := links.Accept()
			if err != nil || time.Since(start) != 3*time.Second {
				t.Fatalf("got %v after %v", err, time.Since(start))
			}
			if r, ok := nc.(*replayConn); ok {
				go func() { _, _ = halting.Write([]byte(" * HTTP")) }()
				p := make([]byte, 10)
				if _, err := io.ReadFull(r, p); err != nil || string(p) != "PRI * HTTP" {
					t.Errorf("got %q, %v", p, err)
				}
			}
		}
		_ = links.Close()
		links.Wait()
	})
}

// Close ends what is not sorted yet, and leaves the links to Wait.
func TestListenerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		links := NewListener(inner, Options{}, echoConn)
		silent := inner.dial()
		stranded := inner.dial() // sorted, but nobody accepts it
		_, _ = stranded.Write([]byte("GET"))
		c, err := Open(t.Context(), inner.dial(), "node.test", Options{})
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, connStream{c}, []byte("before"))
		synctest.Wait()
		if err := links.Close(); err != nil {
			t.Error(err)
		}
		for _, nc := range []net.Conn{silent, stranded} {
			if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
		}
		if _, err := links.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		roundTrip(t, connStream{c}, []byte("after"))
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			links.Wait()
		}()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("Wait did not wait for the link")
		default:
		}
		c.Close(nil)
		<-waited
	})
}

// net/http hears of a TLS handshake that fails, and answers HTTP over the TLS port as it does.
func TestListenerLeavesFailedHandshakesToHTTP(t *testing.T) {
	inner, l := listenTLS(t, serverTLS())
	links := NewListener(l, Options{}, echoConn)
	t.Cleanup(links.Wait)
	serveHTTP(t, links, http.NotFoundHandler())
	nc, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, "GET / HTTP/1.0\r\n\r\n")
	if answer, _ := io.ReadAll(nc); !strings.HasPrefix(string(answer), "HTTP/1.0 400") {
		t.Errorf("got %q", answer)
	}
}

// What io.Copy does to a TCP connection does not lose what is replayed.
func TestReplayKeepsTheAbilitiesOfTCP(t *testing.T) {
	client, server := tcpPair(t)
	if _, err := client.Write([]byte("head, rest")); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	head := make([]byte, 4)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	nc := newReplayConn(server, head)
	if _, ok := nc.(interface{ CloseWrite() error }); !ok {
		t.Error("it cannot be half closed")
	}
	one := make([]byte, 1)
	if _, err := nc.Read(one); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if n, err := io.Copy(struct{ io.Writer }{&b}, nc); n != 9 || err != nil || b.String() != "ead, rest" {
		t.Errorf("got %q, %d, %v", b.String(), n, err)
	}
}

func TestOpenRefusesServersWithoutHTTP2(t *testing.T) {
	cert, _ := testCert()
	tests := map[string]struct {
		cfg  *tls.Config
		part string
	}{
		"HTTP/1 only": {&tls.Config{NextProtos: []string{"http/1.1"}}, "no application protocol"},
		"no ALPN":     {&tls.Config{}, "ALPN"},
		"cipher": {&tls.Config{
			NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
		}, "cipher suite"},
		"TLS 1.1": {&tls.Config{
			NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
		}, "TLS 1.2 or later"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client, server := tcpPair(t)
			test.cfg.Certificates = []tls.Certificate{cert}
			shaken := make(chan struct{})
			go func() {
				defer close(shaken)
				_ = tls.Server(server, test.cfg).Handshake()
			}()
			cc := clientTLS()
			cc.MinVersion = tls.VersionTLS10
			cc.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
			_, err := Open(t.Context(), tls.Client(client, cc), "node.test", Options{})
			if err == nil || !strings.Contains(err.Error(), test.part) {
				t.Errorf("got %v", err)
			}
			if _, err := client.Write(nil); !errors.Is(err, net.ErrClosed) {
				t.Error("the connection is still open")
			}
			<-shaken
			_ = server.Close()
		})
	}
}

// A listener that drains refuses new connections, and goes on with one that has not said yet what it wants.
func TestListenerDrains(t *testing.T) {
	inner, l := listenTLS(t, nil)
	links := NewListener(l, Options{}, echoConn)
	t.Cleanup(links.Wait)
	serveHTTP(t, links, stockMux("", echo))
	early, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	open := dialConn(t, inner.Addr().String(), nil, Options{})
	roundTrip(t, connStream{open}, []byte("accepted in turn")) // so was early
	links.Drain()
	links.Drain()
	if c, err := net.Dial("tcp", inner.Addr().String()); err == nil {
		t.Error("it takes a new connection")
		_ = c.Close()
	}
	if _, err := io.WriteString(early, "GET /hello HTTP/1.1\r\nHost: node.test\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(early); !bytes.Contains(answer, []byte("hello over HTTP/1.1")) {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	roundTrip(t, connStream{open}, []byte("still open"))
}
