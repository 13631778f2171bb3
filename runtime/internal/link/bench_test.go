//go:build unix

package link_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// endless is a context that never ends, which costs a call nothing.
var endless = context.Background()

// BenchmarkUnary calls over connections in memory: what the engine costs. cpu-ns/op is what all ends
// and relays together take of the processors, which a busy machine blurs less than time.
func BenchmarkUnary(b *testing.B) {
	for _, relays := range []int{0, 1, 2} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("relays=%d/callers=%d", relays, callers), func(b *testing.B) {
				m := tryingChain(b, relays+2, link.Limits{})
				defer m.close()
				m.nodes[relays+1].serve = echoUnary
				benchmarkUnary(b, callers, func() *link.ClientCall {
					return m.open(endless, 0, relays+1, link.Open{Deadline: time.Now().Add(time.Minute)})
				})
			})
		}
	}
}

// BenchmarkUnaryContext has a context that can be cancelled.
func BenchmarkUnaryContext(b *testing.B) {
	m := tryingChain(b, 2, link.Limits{})
	defer m.close()
	m.nodes[1].serve = echoUnary
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	benchmarkUnary(b, 1, func() *link.ClientCall { return m.open(ctx, 0, 1, link.Open{}) })
}

func BenchmarkLocalUnary(b *testing.B) {
	m := newMesh(b, 1, link.Limits{})
	defer m.close()
	m.nodes[0].serve = echoUnary
	benchmarkUnary(b, 1, func() *link.ClientCall { return m.open(endless, 0, 0, link.Open{}) })
}

// benchmarkUnary makes b.N calls by so many callers.
func benchmarkUnary(b *testing.B, callers int, open func() *link.ClientCall) {
	msg := make([]byte, 64)
	var wg sync.WaitGroup
	stop := measure(b)
	for i := range callers {
		n := b.N / callers
		if i < b.N%callers {
			n++
		}
		wg.Go(func() {
			for range n {
				if err := callOnce(open(), msg); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	stop()
}

func callOnce(c *link.ClientCall, msg []byte) error {
	if err := c.Send(msg); err != nil {
		return err
	}
	if _, err := c.Receive(); err != nil {
		return err
	}
	if _, err := c.Receive(); !errors.Is(err, io.EOF) {
		return err
	}
	return c.Close()
}

// BenchmarkBulk streams messages of 64 KiB and of 1 MiB.
func BenchmarkBulk(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		for _, relays := range []int{0, 1} {
			b.Run(fmt.Sprintf("size=%d/relays=%d", size, relays), func(b *testing.B) {
				m := tryingChain(b, relays+2, link.Limits{})
				defer m.close()
				m.nodes[relays+1].serve = func(c *link.ServerCall) {
					for {
						if _, err := c.Receive(); err != nil {
							_ = c.End(nil, nil)
							return
						}
					}
				}
				c := m.open(endless, 0, relays+1, link.Open{StreamType: connect.StreamTypeClient})
				msg := make([]byte, size)
				b.SetBytes(int64(size))
				stop := measure(b)
				for range b.N {
					if err := c.Send(msg); err != nil {
						b.Fatal(err)
					}
				}
				_ = c.CloseSend()
				_, _ = c.Receive()
				stop()
				_ = c.Close()
			})
		}
	}
}

// BenchmarkFlood streams small messages one way.
func BenchmarkFlood(b *testing.B) {
	m := tryingChain(b, 2, link.Limits{})
	defer m.close()
	m.nodes[1].serve = func(c *link.ServerCall) {
		for {
			if _, err := c.Receive(); err != nil {
				_ = c.End(nil, nil)
				return
			}
		}
	}
	c := m.open(endless, 0, 1, link.Open{StreamType: connect.StreamTypeClient})
	msg := make([]byte, 64)
	stop := measure(b)
	for range b.N {
		if err := c.Send(msg); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.CloseSend()
	_, _ = c.Receive()
	stop()
	_ = c.Close()
}

// BenchmarkPingPong exchanges messages on one stream.
func BenchmarkPingPong(b *testing.B) {
	m := tryingChain(b, 2, link.Limits{})
	defer m.close()
	m.nodes[1].serve = echo
	c := m.open(endless, 0, 1, link.Open{StreamType: connect.StreamTypeBidi})
	msg := make([]byte, 64)
	stop := measure(b)
	for range b.N {
		if err := c.Send(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Receive(); err != nil {
			b.Fatal(err)
		}
	}
	stop()
	_ = c.Close()
}

// measure starts the clocks of a benchmark; the returned function stops them.
func measure(b *testing.B) (stop func()) {
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	return func() {
		b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
		b.StopTimer()
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHandshake sets links up over connections in memory, by a secret that has been used before.
func BenchmarkHandshake(b *testing.B) {
	dial, accept := newNode(0, link.Limits{}).cfg, newNode(1, link.Limits{}).cfg
	dial.Key, accept.Key = keyOf(0), keyOf(1)
	shake := func() {
		near, far := linktest.Pipe()
		accepted := make(chan error, 1)
		go func() {
			_, err := link.Accept(endless, far, accept, func(link.Peer) (*linkv1.Join, error) { return nil, nil })
			accepted <- err
		}()
		_, err := link.Dial(endless, near, dial, nil)
		if err := errors.Join(err, <-accepted); err != nil {
			b.Fatal(err)
		}
	}
	shake()
	for b.Loop() {
		shake()
	}
}
