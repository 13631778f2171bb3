package h2serve

import (
	"bytes"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestLongBodies has bodies of all lengths come at once, whatever the BufferedHandler says of how long they will be, and go back
// as the same memory.
func TestLongBodies(t *testing.T) {
	lengths := map[string]func(begin []byte) int{
		"unknown":  func([]byte) int { return 0 },
		"short":    func(begin []byte) int { return len(begin) + 1 },
		"right":    func(begin []byte) int { return 100_000 * int(begin[0]) },
		"long":     func([]byte) int { return MaxBufferedBody },
		"too long": func([]byte) int { return math.MaxInt },
		"negative": func([]byte) int { return -1 },
	}
	for name, length := range lengths {
		t.Run(name, func(t *testing.T) {
			addr := serveTCP(t, Options{Buffered: by(&echo{length: length}), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(w, r.Body) // of one that did not come in time
			})})
			c := client(t)
			var calls sync.WaitGroup
			for i := range byte(8) {
				calls.Go(func() {
					body := bytes.Repeat([]byte{i + 1}, 100_000*int(i+1))
					res, err := c.Post("http://"+addr+"/", "text/plain", bytes.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					defer res.Body.Close()
					if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, body) {
						t.Errorf("%d bytes came back as %d, %v", len(body), len(got), err)
					}
				})
			}
			calls.Wait()
		})
	}
}

// TestBodyThatComesQuickly has long bodies come in more time than short ones get: they are the BufferedHandler's if they come
// quickly all the time.
func TestBodyThatComesQuickly(t *testing.T) {
	for name, test := range map[string]struct {
		pieces []int
		whole  bool
	}{
		"quickly":      {[]int{16 << 10, 16 << 10, 16 << 10, 16 << 10, 16 << 10, 16 << 10, 10}, true},
		"slowly":       {[]int{1 << 10, 1 << 10, 1 << 10, 1 << 10, 1 << 10, 10}, false},
		"ever slower":  {[]int{16 << 10, 16 << 10, 16 << 10, 16 << 10, 1 << 10, 1 << 10, 1 << 10, 10}, false},
		"with a pause": {[]int{16 << 10, 16 << 10, 16 << 10, 0, 0, 0, 10}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := make(chan bool, 1)
				e := &echo{handle: func(*Request) bool { got <- true; return true }}
				near, far := net.Pipe()
				served := make(chan error)
				go func() {
					served <- Serve(t.Context(), far, nil, Options{Buffered: by(e), Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
						got <- false
					})})
				}()
				go func() { _, _ = io.Copy(io.Discard, near) }()
				sendInPieces(t, near, test.pieces)
				if whole := <-got; whole != test.whole {
					t.Errorf("the BufferedHandler has it: %v", whole)
				}
				_ = near.Close()
				<-served
			})
		})
	}
}

// sendInPieces sends a request whose body comes with pauses of half of what a short one gets.
func sendInPieces(t *testing.T, nc net.Conn, pieces []int) {
	t.Helper()
	_, err := io.WriteString(nc, http2.ClientPreface)
	fr := http2.NewFramer(nc, nil)
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "x"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	if err == nil {
		err = fr.WriteSettings()
	}
	if err == nil {
		err = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndHeaders: true})
	}
	for i, n := range pieces {
		if n > 0 && err == nil {
			err = fr.WriteData(1, i == len(pieces)-1, make([]byte, n))
		}
		time.Sleep(bufferTimeout/2 + time.Duration(rand.N(3))) // fake time
	}
	if err != nil {
		t.Fatal(err)
	}
}
