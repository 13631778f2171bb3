package h2link

import (
	"cmp"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// path has a flight filled, and answers its PINGs as a path of that bandwidth and delay does.
func path(f *flight, pings int, bandwidth float64, delay time.Duration) {
	w := new(controlQueue)
	now := time.Now()
	idle := now
	for range pings {
		for !f.congested() {
			f.sentBytes += 16 << 10
			if f.pingIfDue(w) {
				f.pings[f.numPings-1].sentAt = now
			}
		}
		p := f.pings[0]
		idle = later(idle, p.sentAt).Add(time.Duration(float64(p.sentBytes-f.ackedBytes) / bandwidth * 1e9))
		now = idle.Add(delay)
		f.pingAcked(pingData(f.pingCount-uint64(f.numPings)+1), now)
		if f.pingIfDue(w) {
			f.pings[f.numPings-1].sentAt = now
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestFlightLimitFollowsBandwidth(t *testing.T) {
	for name, p := range map[string]struct {
		bandwidth float64 // bytes/s
		delay     time.Duration
	}{
		"loopback":   {400e6, 50 * time.Microsecond},
		"local":      {100e6, time.Millisecond},
		"far":        {100e6, 100 * time.Millisecond},
		"slow":       {1e6, 20 * time.Millisecond},
		"fast & far": {1e9, 30 * time.Millisecond},
	} {
		f := flight{limit: minInFlight}
		path(&f, 1000, p.bandwidth, p.delay)
		holds := uint64(p.bandwidth * p.delay.Seconds())
		if f.limit < holds || f.limit > max(2*minInFlight, 4*holds) {
			t.Errorf("%s: %d bytes under way, the path holds %d", name, f.limit, holds)
		}
	}
}

// Once in a while the delay is measured anew, with little under way.
func TestFlightMeasuresMinRTTAgain(t *testing.T) {
	f := flight{limit: minInFlight}
	path(&f, 1000, 1e9, 30*time.Millisecond)
	f.minRTTAt = f.minRTTAt.Add(-2 * minRTTExpiry)
	path(&f, 1, 1e9, 60*time.Millisecond)
	if f.limit != minInFlight {
		t.Errorf("%d bytes under way while the delay is measured", f.limit)
	}
	path(&f, 1000, 1e9, 60*time.Millisecond)
	if f.limit < 60e6 {
		t.Errorf("%d bytes under way on a path that holds 60e6", f.limit)
	}
}

// What could not be written is not waited for.
func TestFlightUndo(t *testing.T) {
	f := flight{limit: minInFlight}
	w := new(controlQueue)
	f.sentBytes = minInFlight
	f.pingIfDue(w)
	f.undo(minInFlight)
	if f.congested() {
		t.Error("crowded by what was not written")
	}
	if !f.pingAcked(pingData(1), time.Now()) || f.ackedBytes != f.sentBytes {
		t.Errorf("%d of %d bytes count as read", f.ackedBytes, f.sentBytes)
	}
}

// A peer that does not read makes its sender's bulk wait; one that reads again ends that.
func TestCongestedUntilRead(t *testing.T) {
	relieved := make(chan struct{}, 1)
	p, result := clientOf(t, Options{}, func(c *Conn) error {
		c.OnUncongested(func() { relieved <- struct{}{} })
		if _, err := c.Receive(); err != nil { // the window is open
			return err
		}
		msg := noise(64 << 10)
		for !c.Congested() {
			if err := c.Send(packet(msg)); err != nil {
				return err
			}
		}
		return drainConn(c)
	})
	p.call()
	p.check(p.WriteWindowUpdate(0, 1<<30), p.WriteWindowUpdate(1, 1<<30), p.WriteData(1, false, envelope(0, "go")))
	var closing sync.WaitGroup
	closing.Go(func() {
		<-relieved
		_ = p.nc.Close()
	})
	for {
		f, err := p.ReadFrame()
		if err != nil {
			break // closed above
		}
		if ping, ok := f.(*http2.PingFrame); ok && !ping.IsAck() {
			_ = p.WritePing(true, ping.Data) // likewise
		}
	}
	closing.Wait()
	<-result
}

// What is sent waits at the bound of Hold until Lift, and AfterSent tells when it is near.
func TestHold(t *testing.T) {
	const bound, messages, size = 150_000, 4, 60_000
	reached := make(chan struct{})
	p, result := clientOf(t, Options{}, func(c *Conn) error {
		if _, err := c.Receive(); err != nil { // the window is open
			return err
		}
		c.Hold(bound)
		full := c.AfterSent(bound / 2)
		sent := make(chan error, 1)
		go func() {
			var err error
			for range messages {
				err = cmp.Or(err, c.Send(packet(noise(size))))
			}
			sent <- err
		}()
		<-full
		<-reached
		if got := c.Sent(); got != bound {
			t.Errorf("%d bytes were sent", got)
		}
		if sent, err := c.TrySend(packet(noise(10))); sent || err != nil {
			t.Errorf("TrySend: %v, %v", sent, err)
		}
		c.Lift()
		err := <-sent
		if got := c.Sent(); got != messages*(size+prefixSize) {
			t.Errorf("%d bytes were sent in all", got)
		}
		<-c.AfterSent(bound)
		return err
	})
	p.call()
	p.check(p.WriteWindowUpdate(0, 1<<30), p.WriteWindowUpdate(1, 1<<30), p.WriteData(1, false, envelope(0, "go")))
	for got, told := 0, false; got < messages*(size+prefixSize); {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := f.(*http2.DataFrame); ok {
			got += len(data.Data())
		}
		if got >= bound && !told {
			told = true
			close(reached)
		}
	}
	_ = p.nc.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
}
