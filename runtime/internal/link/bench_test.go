package link_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

func BenchmarkUnary(b *testing.B) {
	for _, relays := range []int{0, 1, 2} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("relays=%d/callers=%d", relays, callers), func(b *testing.B) {
				m := chain(b, relays+2, link.Limits{})
				defer m.close()
				m.nodes[relays+1].serve = echoUnary
				benchmarkUnary(b, callers, func() *link.ClientCall {
					return m.open(context.Background(), 0, relays+1, link.Open{})
				})
			})
		}
	}
}

func BenchmarkLocalUnary(b *testing.B) {
	m := newMesh(b, 1, link.Limits{})
	defer m.close()
	m.nodes[0].serve = echoUnary
	benchmarkUnary(b, 1, func() *link.ClientCall { return m.open(context.Background(), 0, 0, link.Open{}) })
}

// benchmarkUnary makes b.N calls by so many callers.
func benchmarkUnary(b *testing.B, callers int, open func() *link.ClientCall) {
	b.ReportAllocs()
	msg := make([]byte, 64)
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range callers {
		n := b.N / callers
		if i < b.N%callers {
			n++
		}
		wg.Go(func() {
			for range n {
				c := open()
				if err := c.Send(msg); err != nil {
					b.Error(err)
					return
				}
				if _, err := c.Receive(); err != nil {
					b.Error(err)
					return
				}
				if _, err := c.Receive(); !errors.Is(err, io.EOF) {
					b.Error(err)
					return
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}
