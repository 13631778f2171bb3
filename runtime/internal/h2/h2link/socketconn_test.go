package h2link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
)

// tlsPair returns two ends of a call over TLS and TCP.
func tlsPair(t *testing.T) (client, server *Conn) {
	t.Helper()
	inner := listen(t)
	l := TLSListener(inner, serverTLS())
	accepted := make(chan *Conn, 1)
	go func() {
		defer close(accepted)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		if c, err := Accept(nc, Options{}); err == nil {
			accepted <- c
		}
	}()
	nc, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if client, err = Open(t.Context(), TLSClient(nc, clientTLS()), inner.Addr().String(), Options{}); err != nil {
		t.Fatal(err)
	}
	if server = <-accepted; server == nil {
		t.Fatal("nothing was accepted")
	}
	return client, server
}

// Over TLS, too, TrySend sends whole or not at all, and what the socket takes in part comes whole and in order,
// though nothing more is sent behind it.
func TestTrySendOverTLS(t *testing.T) {
	client, server := tlsPair(t)
	if client.tlsSocket == nil || server.tlsSocket == nil {
		t.Skip("no sockets that can be written to without waiting")
	}
	heard := make(chan error, 1)
	go func() { // for the windows
		_, err := client.Receive()
		heard <- err
	}()
	for _, more := range []bool{false, true} {
		client.mu.Lock()
		for client.state.socket != socketFree || client.state.streamOutflow.Available() < 8<<20 {
			client.cond.Wait()
		}
		client.mu.Unlock()
		n := 0
		for {
			ok, err := client.TrySend(packet(numbered(n)))
			if err != nil {
				t.Fatal(err)
			}
			if !ok && n == 0 {
				runtime.Gosched() // the reader has the socket for a moment, to acknowledge
				continue
			}
			if !ok {
				break
			}
			n++
		}
		if left := n * len(numbered(0)); n == 0 || left > 8<<20 {
			t.Fatalf("%d bytes were sent before the socket was full", left)
		}
		sent := make(chan error, 1)
		if more {
			last := packet(numbered(n))
			go func() { sent <- client.Send(last) }()
			n++
		} else {
			sent <- nil
		}
		for i := range n {
			if msg, err := server.Receive(); err != nil || !bytes.Equal(msg, numbered(i)) {
				t.Fatalf("message %d of %d: %d bytes, %v", i, n, len(msg), err)
			}
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
	go client.Close(nil)
	if _, err := server.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	server.Close(nil)
	client.Close(nil)
	<-heard
}
