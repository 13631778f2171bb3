package h2link

import (
	"crypto/tls"
	"fmt"
	"testing"
)

// benchConn is echo without a copy. It has no goroutine that always reads: no benchmark uses up a
// window.
func benchConn(c *Conn) error {
	reply := make([]byte, HeadRoom)
	for {
		p, err := c.Receive()
		if err != nil {
			return err
		}
		reply = append(reply[:HeadRoom], p...)
		if err := c.Send(reply); err != nil {
			return err
		}
	}
}

// BenchmarkEcho has messages echoed, so many in flight at once.
func BenchmarkEcho(b *testing.B) {
	for _, secure := range []bool{false, true} {
		for _, size := range []int{64, 16 << 10} {
			for _, inFlight := range []int{1, 64} {
				for _, kind := range []string{"own", "stock"} {
					b.Run(fmt.Sprintf("TLS=%v/%dB/inflight=%d/%s", secure, size, inFlight, kind), func(b *testing.B) {
						benchEcho(b, secure, size, inFlight, kind)
					})
				}
			}
		}
	}
}

func benchEcho(b *testing.B, secure bool, size, inFlight int, kind string) {
	var sc, cc *tls.Config
	if secure {
		sc, cc = serverTLS(), clientTLS()
	}
	var s stream
	inner, l := listenTLS(b, sc)
	if kind == "own" {
		serveConns(b, l, Options{}, benchConn)
		s = &benchStream{Conn: dialConn(b, inner.Addr().String(), cc, Options{})}
	} else {
		serveHTTP(b, l, stockMux("", echo))
		s = stockClientStream{dialStock(b, inner.Addr().String(), cc)}
	}
	p := make([]byte, size)
	slots := make(chan struct{}, inFlight)
	done := make(chan error, 1)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			if _, err := s.Receive(); err != nil {
				done <- err
				return
			}
			<-slots
		}
		done <- nil
	}()
	for range b.N {
		slots <- struct{}{}
		if err := s.Send(p); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
}

// benchStream sends without allocating.
type benchStream struct {
	*Conn
	p []byte
}

func (s *benchStream) Send(p []byte) error {
	s.p = append(append(s.p[:0], make([]byte, HeadRoom)...), p...)
	return s.Conn.Send(s.p)
}
