package link_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

var (
	seed     = flag.Uint64("link.seed", 0, "run only the random program of this seed")
	programs = flag.Int("link.programs", 60, "how many random programs to run")
)

// TestPrograms runs random programs of calls over random meshes with tiny windows: all four kinds, both
// directions, bulk both ways at once, calls let go of and handlers that end early. Whatever happens,
// every message arrives as it was sent and in order, nothing stalls, and nothing is left.
func TestPrograms(t *testing.T) {
	if *seed != 0 {
		runProgram(t, *seed)
		return
	}
	for i := range *programs {
		t.Run(fmt.Sprintf("seed=%d", i+1), func(t *testing.T) { runProgram(t, uint64(i+1)) })
	}
}

func runProgram(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 0))
		limits := link.Limits{Window: 1 + r.IntN(2000), MaxMessage: 200_000}
		tight := r.IntN(2) == 0
		if tight {
			limits.Memory = 1 << r.IntN(22)
		}
		m := newMesh(t, 1+r.IntN(8), limits)
		if m.scarce = tight; tight {
			m.shareBudgets(1 << r.IntN(22))
		}
		m.try = r.IntN(2) == 0
		m.pipe = []int{1, 5000, linktest.DefaultBuffer}[r.IntN(3)]
		if len(m.nodes) > 2 && r.IntN(2) == 0 {
			m.linkRing()
		} else {
			m.linkRow()
		}
		for _, n := range m.nodes {
			n.serve = func(c *link.ServerCall) { serveProgram(t, c) }
		}
		watchdog := time.AfterFunc(time.Hour, func() { panic(fmt.Sprintf("program %d stalls", seed)) })
		defer watchdog.Stop()
		var calls sync.WaitGroup
		for range 1 + r.IntN(20) {
			p := newProgram(r, len(m.nodes))
			calls.Go(func() { p.run(t, m) })
		}
		calls.Wait()
		synctest.Wait()
		m.checkIdle()
		m.close()
	})
}

// program is what one call does. Its header tells the handler its part.
type program struct {
	seed         uint64
	from, to     int
	kind         connect.StreamType
	up, down     int          // how many messages go each way
	cancelAfter  int          // messages sent, after which the caller lets go; -1: never
	endAfter     int          // messages received, after which the handler ends the call; -1: all
	code         connect.Code // what it ends with; 0: well
	largest      int
	slow         bool // the handler takes its time
	withDeadline bool
}

func newProgram(r *rand.Rand, nodes int) *program {
	p := &program{
		seed: r.Uint64(), from: r.IntN(nodes), to: r.IntN(nodes), kind: connect.StreamType(r.IntN(4)),
		up: 1, down: 1, cancelAfter: -1, endAfter: -1, largest: 1 + r.IntN(3000), slow: r.IntN(4) == 0,
	}
	if r.IntN(4) == 0 {
		p.largest = 150_000
	}
	if p.kind&connect.StreamTypeClient != 0 {
		p.up = r.IntN(20)
	}
	if p.kind&connect.StreamTypeServer != 0 {
		p.down = r.IntN(20)
	}
	switch r.IntN(6) {
	case 0:
		p.cancelAfter = r.IntN(p.up + 1)
	case 1:
		p.endAfter = r.IntN(p.up + 1)
		p.code = connect.Code(r.IntN(17))
	case 2:
		p.code = connect.Code(r.IntN(17))
	case 3:
		p.withDeadline = true
	}
	return p
}

func (p *program) header() *connect.Header {
	h := header("Seed", fmt.Sprint(p.seed))
	h.Add("Plan", fmt.Sprint(p.up, p.down, p.endAfter, uint32(p.code), p.largest, p.slow))
	return h
}

// message is the i-th message of one direction.
func (p *program) message(up bool, i int) []byte {
	n := uint64(i) << 1
	if up {
		n++
	}
	r := rand.New(rand.NewPCG(p.seed, n))
	msg := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, r.Uint64()), p.largest/8+1)
	return msg[:r.IntN(p.largest)]
}

func (p *program) run(t *testing.T, m *mesh) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := link.Open{Header: p.header(), StreamType: p.kind}
	if p.withDeadline {
		o.Deadline = time.Now().Add(10 * time.Second)
	}
	c := m.open(ctx, p.from, p.to, o)
	var sender sync.WaitGroup
	sender.Go(func() {
		for i := range p.up {
			if i == p.cancelAfter {
				cancel()
			}
			if c.Send(p.message(true, i)) != nil {
				return
			}
		}
		if p.cancelAfter == p.up {
			cancel()
		}
		_ = c.CloseSend()
	})
	got := 0
	var err error
	for {
		var msg []byte
		if msg, err = c.Receive(); err != nil {
			break
		}
		if !bytes.Equal(msg, p.message(false, got)) {
			t.Errorf("%+v: message %d of the handler's is not as it was sent", p, got)
		}
		got++
	}
	sender.Wait()
	_ = c.Close()
	switch {
	case m.scarce && outOfMemory(err):
	case p.cancelAfter >= 0:
		if code := connect.CodeOf(err); !errors.Is(err, io.EOF) && code != connect.CodeCanceled {
			t.Errorf("%+v: ended with %v", p, err)
		}
	case p.withDeadline && p.slow: // either end may be the first to find that the time is up
	case p.endAfter >= 0 && connect.CodeOf(err) == connect.CodeInternal: // in the middle of a message
	case p.code != 0:
		if connect.CodeOf(err) != p.code {
			t.Errorf("%+v: ended with %v", p, err)
		}
	case !errors.Is(err, io.EOF):
		t.Errorf("%+v: ended with %v", p, err)
	case p.endAfter < 0 && got != p.down:
		t.Errorf("%+v: %d messages arrived", p, got)
	}
}

// serveProgram is the handler's part.
func serveProgram(t *testing.T, c *link.ServerCall) {
	p := new(program)
	h, _ := c.Header()
	var code uint32
	_, err := fmt.Sscan(h.Get("Seed"), &p.seed)
	_, err2 := fmt.Sscan(h.Get("Plan"), &p.up, &p.down, &p.endAfter, &code, &p.largest, &p.slow)
	if err := errors.Join(err, err2); err != nil {
		t.Errorf("plan %v: %v", h, err)
	}
	var sender sync.WaitGroup
	sender.Go(func() {
		for i := range p.down {
			if p.slow {
				time.Sleep(time.Second) // fake time
			}
			if c.Send(p.message(false, i)) != nil {
				return
			}
		}
	})
	for i := 0; i != p.endAfter; i++ {
		if p.slow {
			time.Sleep(time.Second) // fake time
		}
		msg, err := c.Receive()
		if errors.Is(err, io.EOF) {
			if i != p.up {
				t.Errorf("%d of %d messages arrived", i, p.up)
			}
			break
		}
		if err != nil {
			break
		}
		if !bytes.Equal(msg, p.message(true, i)) {
			t.Errorf("message %d of the caller's is not as it was sent", i)
		}
	}
	if p.endAfter < 0 {
		sender.Wait()
	}
	var end *connect.Error
	if code != 0 {
		end = connect.NewError(connect.Code(code), "planned")
	}
	_ = c.End(end, nil)
	sender.Wait()
}
