package h2serve_test

import (
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// frames has every frame that comes handed to take, until the connection ends.
func (g *target) frames(take func(http2.Frame)) chan struct{} {
	_ = g.nc.SetDeadline(time.Time{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			f, err := g.ReadFrame()
			if err != nil {
				return
			}
			take(f)
		}
	}()
	return ended
}

// TestIdle: a connection on which nothing is asked ends in order, whatever else is said; one with requests does not.
func TestIdle(t *testing.T) {
	const idle = time.Minute
	tests := map[string]struct {
		timeout time.Duration
		client  func(g *target) // what it does before it falls silent
		silent  time.Duration   // for so long it has asked nothing then
		never   bool
	}{
		"says nothing": {timeout: idle, client: func(*target) {}},
		"asks": {timeout: idle, client: func(g *target) {
			for id := uint32(1); id < 20; id += 2 {
				g.head(id, true, get...)
				time.Sleep(idle - time.Second) // fake time
			}
			g.head(21, true, get...)
		}},
		"waits for an answer": {timeout: idle, client: func(g *target) {
			g.head(1, true, append(get[:6:6], ":path", "/long")...)
			time.Sleep(10 * idle) // fake time
		}},
		"pings": {timeout: idle, client: func(g *target) {
			for range 9 {
				g.do(g.WritePing(false, [8]byte{}))
				time.Sleep(idle / 10) // fake time
			}
		}, silent: 9 * idle / 10},
		"has sent half a frame": {timeout: idle, client: func(g *target) { _, _ = g.nc.Write([]byte{0, 0, 100, 0}) }},
		"need not ask":          {timeout: -1, client: func(*target) {}, never: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				g := targetOver(t, near, far, h2serve.Options{IdleTimeout: test.timeout, Handler: http.HandlerFunc(
					func(_ http.ResponseWriter, r *http.Request) {
						if r.URL.Path == "/long" {
							time.Sleep(10 * idle) // fake time
						}
					})})
				goAway := make(chan http2.ErrCode, 1)
				ended := g.frames(func(f http2.Frame) {
					if f, ok := f.(*http2.GoAwayFrame); ok {
						goAway <- f.ErrCode
					}
				})
				g.preface()
				test.client(g)
				synctest.Wait()
				silent := time.Now().Add(-test.silent)
				select {
				case <-ended:
				case <-time.After(100 * idle):
				}
				switch took := time.Since(silent); {
				case test.never:
					if took < 100*idle {
						t.Errorf("it ended after %v", took)
					}
				case took < idle || took > idle+idle/4:
					t.Errorf("it ended after %v", took)
				case len(goAway) != 1 || <-goAway != http2.ErrCodeNo:
					t.Error("it did not end in order")
				}
			})
		})
	}
}
