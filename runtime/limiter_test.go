package rpcmesh

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestRedialLimiter(t *testing.T) {
	var p redialLimiter
	now := time.Now()
	takes := func() (n int) {
		for p.allow(now) {
			n++
		}
		return n
	}
	if n := takes(); n != redialBurst {
		t.Errorf("%d at once", n)
	}
	now = now.Add(2 * redialInterval)
	if n := takes(); n != 2 {
		t.Errorf("%d after two intervals", n)
	}
	now = now.Add(time.Hour)
	if n := takes(); n != redialBurst {
		t.Errorf("%d after an hour", n)
	}
}

// TestAddressMonitor: only another set of addresses is a change.
func TestAddressMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var addresses []net.Addr
		var failed error
		w := addressMonitor{list: func() ([]net.Addr, error) { return addresses, failed }}
		set := func(ips ...string) {
			addresses = nil
			for _, ip := range ips {
				addresses = append(addresses, &net.IPAddr{IP: net.ParseIP(ip)})
			}
			time.Sleep(addressInterval) // fake time
		}
		set("127.0.0.1", "10.0.0.1")
		first := w.version()
		set("10.0.0.1", "127.0.0.1")
		if w.version() != first {
			t.Error("another order is a change")
		}
		set("127.0.0.1")
		failed = errors.New("not now")
		if w.version() != first {
			t.Error("an error is a change")
		}
		failed = nil
		set("127.0.0.1")
		second := w.version()
		set("127.0.0.1", "10.0.0.2")
		if third := w.version(); first == second || second == third {
			t.Errorf("changes are told as %d, %d, %d", first, second, third)
		}
	})
}
