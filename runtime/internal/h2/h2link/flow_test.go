package h2link

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// pairs are the kinds of connection that a Conn may have.
var pairs = map[string]func(t testing.TB) (client, server net.Conn){
	"TCP": tcpPair,
	"unix": func(t testing.TB) (client, server net.Conn) {
		l, err := net.Listen("unix", filepath.Join(socketDir(t), "s"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return connectTo(t, l)
	},
	"pipe": func(testing.TB) (client, server net.Conn) { return net.Pipe() },
	"TLS": func(t testing.TB) (client, server net.Conn) {
		client, server = tcpPair(t)
		return tls.Client(client, clientTLS()), tls.Server(server, serverTLS())
	},
}

func eachTransport(t *testing.T, test func(t *testing.T, client, server net.Conn)) {
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := pair(t)
			test(t, client, server)
		})
	}
}

// While a Send waits for a window, what the peer says is heard and answered.
func TestReaderGoesOnWhileSendWaitsForWindow(t *testing.T) {
	for _, name := range []string{"TCP", "pipe"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := pairs[name](t)
			sent := make(chan error, 1)
			p, result := clientOver(t, near, far, Options{}, func(c *Conn) error {
				go func() { sent <- c.Send(packet([]byte("long awaited"))) }()
				return drainConn(c)
			})
			p.enqueue(func() {
				p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
				p.head(1, false, callHead...)
			})
			await[*http2.MetaHeadersFrame](p)
			for i := range byte(100) {
				p.enqueue(func() { p.check(p.WritePing(false, [8]byte{i})) })
				if f := await[*http2.PingFrame](p); f.Data[0] != i || !f.IsAck() {
					t.Fatalf("got %v", f)
				}
			}
			want := envelope(0, "long awaited")
			for i := range want {
				p.enqueue(func() { p.check(p.WriteWindowUpdate(1, 1)) })
				if got := await[*http2.DataFrame](p).Data(); !bytes.Equal(got, want[i:i+1]) {
					t.Fatalf("got %q as byte %d", got, i)
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			p.enqueue(func() { p.check(p.WriteWindowUpdate(1, 1000), p.WriteData(1, true, nil)) })
			p.wantData(envelope(flagEndStream, "{}"))
			await[*http2.GoAwayFrame](p)
			_ = p.nc.Close()
			if err := <-result; err != io.EOF {
				t.Error(err)
			}
		})
	}
}

// While a Send waits for the peer to read, what the peer says is heard, and answered after it.
func TestReaderGoesOnWhileTheSocketIsFull(t *testing.T) {
	for _, name := range []string{"TCP", "pipe"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const messages = 200
			near, far := pairs[name](t)
			heard, sending := make(chan struct{}), make(chan struct{})
			long := noise(16 << 20)
			p, _ := clientOver(t, near, far, Options{}, func(c *Conn) error {
				var wg sync.WaitGroup
				defer wg.Wait()
				if _, err := c.Receive(); err != nil { // the window is open
					return err
				}
				wg.Go(func() {
					close(sending)
					_ = c.Send(packet(long))
				})
				<-sending
				for range messages {
					if _, err := c.Receive(); err != nil {
						return err
					}
				}
				close(heard)
				return drainConn(c)
			})
			p.enqueue(p.call)
			p.enqueue(func() {
				p.check(p.WriteWindowUpdate(0, 1<<30), p.WriteWindowUpdate(1, 1<<30),
					p.WriteData(1, false, envelope(0, "go")))
			})
			await[*http2.MetaHeadersFrame](p)
			<-sending
			for i := range messages {
				p.enqueue(func() {
					p.check(p.WritePing(false, [8]byte{1: byte(i)}), p.WriteData(1, false, envelope(0, "hear me")))
				})
			}
			<-heard
			pings, want := 0, envelope(0, string(long))
			for len(want) > 0 || pings < messages {
				f, err := p.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				switch f := f.(type) {
				case *http2.PingFrame:
					if !f.IsAck() {
						continue
					}
					if f.Data[1] != byte(pings) {
						t.Fatalf("got the answer to PING %d, want %d", f.Data[1], pings)
					}
					pings++
				case *http2.DataFrame:
					if !bytes.HasPrefix(want, f.Data()) {
						t.Fatal("got other DATA than was sent")
					}
					want = want[len(f.Data()):]
				}
			}
		})
	}
}

// TrySend sends whole or not at all, and what the socket takes in part comes whole.
func TestTrySendDoesNotWait(t *testing.T) {
	tried := make(chan int, 1)
	p, result := clientOf(t, Options{}, func(c *Conn) error {
		if _, err := c.Receive(); err != nil {
			return err
		}
		n := 0
		for {
			ok, err := c.TrySend(packet(numbered(n)))
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			n++
		}
		c.mu.Lock()
		if took := h2core.InitialWindow + 1<<30 - c.state.connOutflow.Available(); took != int64(n*(prefixSize+len(numbered(0)))) {
			t.Errorf("the window lost %d bytes to %d messages", took, n)
		}
		c.mu.Unlock()
		tried <- n
		if err := c.Send(packet(numbered(n))); err != nil {
			return err
		}
		return drainConn(c)
	})
	p.call()
	p.check(p.WriteWindowUpdate(0, 1<<30), p.WriteWindowUpdate(1, 1<<30), p.WriteData(1, false, envelope(0, "go")))
	n := <-tried
	if n == 0 {
		t.Fatal("nothing was sent")
	}
	for i := range n + 1 {
		p.wantData(envelope(0, string(numbered(i))))
	}
	p.check(p.WriteData(1, true, nil))
	p.wantData(envelope(flagEndStream, "{}"))
	_ = p.nc.Close()
	if err := <-result; err != io.EOF {
		t.Error(err)
	}
}

// SETTINGS change the window of the stream by as much as they differ from those before, into the
// negative too, and wake who waits.
func TestSettingsChangeTheWindow(t *testing.T) {
	message := noise(40)
	sent := make(chan error, 1)
	p, _ := clientOf(t, Options{}, func(c *Conn) error {
		go func() {
			p := packet(message)
			err := c.Send(p)
			if !bytes.Equal(p[HeadRoom:], message) {
				err = errors.Join(err, errors.New("Send has changed the packet"))
			}
			sent <- err
		}()
		return drainConn(c)
	})
	p.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20})
	p.head(1, false, callHead...)
	rest := envelope(0, string(message))
	for _, step := range []struct{ window, more int }{{20, 20}, {5, 0}, {25, 5}, {15, 0}, {28, 3}} {
		p.check(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(step.window)}))
		p.check(p.WritePing(false, [8]byte{byte(step.window)}))
		p.wantData(rest[:step.more])
		rest = rest[step.more:]
	}
	p.check(p.WriteWindowUpdate(1, uint32(len(rest))))
	p.wantData(rest)
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// What has been queued is written before a message is handed out: its receiver may take its time.
func TestReceiveFlushesFirst(t *testing.T) {
	release := make(chan struct{})
	p, _ := clientOf(t, Options{}, func(c *Conn) error {
		_, err := c.Receive()
		<-release
		return err
	})
	defer close(release)
	p.call()
	var both bytes.Buffer
	fr := http2.NewFramer(&both, nil)
	p.check(fr.WritePing(false, [8]byte{7}), fr.WriteData(1, false, envelope(0, "message")))
	_, err := p.nc.Write(both.Bytes())
	p.check(err)
	if f := await[*http2.PingFrame](p); !f.IsAck() || f.Data[0] != 7 {
		t.Errorf("got %v", f)
	}
}

// numbered returns a message that tells which it is.
func numbered(i int) []byte {
	return binary.BigEndian.AppendUint32(make([]byte, 9999), uint32(i))
}

func TestTrySendLeavesToSendWhatMustWait(t *testing.T) {
	eachTransport(t, func(t *testing.T, client, server net.Conn) {
		var p *peer
		var result <-chan error
		try := func(c *Conn) error {
			for _, n := range []int{0, 64, h2core.InitialWindow, maxFrame} {
				ok, err := c.TrySend(packet(make([]byte, n)))
				if want := c.raw != nil && n < h2core.InitialMaxFrame; ok != want || err != nil {
					return fmt.Errorf("TrySend of %d bytes said %v, %w", n, ok, err)
				}
			}
			sent := make(chan error, 1)
			go func() { sent <- c.Send(packet(make([]byte, h2core.InitialWindow))) }()
			c.mu.Lock()
			for c.state.message != messageSending || c.state.connOutflow.Available() > 0 {
				c.cond.Wait()
			}
			c.mu.Unlock()
			if ok, err := c.TrySend(packet(nil)); ok || err != nil {
				return fmt.Errorf("TrySend beside Send said %v, %w", ok, err)
			}
			c.Close(nil)
			if err := <-sent; !errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("Send said %w", err)
			}
			if ok, err := c.TrySend(packet(nil)); ok || !errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("TrySend after Close said %v, %w", ok, err)
			}
			return io.EOF
		}
		p, result = clientOver(t, client, server, Options{}, try)
		read := make(chan struct{})
		go func() {
			defer close(read)
			for f, err := p.ReadFrame(); err == nil; f, err = p.ReadFrame() {
				if f.Header().Type == http2.FrameGoAway {
					_ = p.nc.Close()
				}
			}
		}()
		p.call()
		<-read
		if err := <-result; err != io.EOF {
			t.Error(err)
		}
	})
}

// Two ends that answer from their readers, as a session does, never stall each other.
func TestBothWaysWithTinyWindows(t *testing.T) {
	for _, test := range []struct{ window, messages int }{{1, 10}, {100, 100}, {0, 200}} {
		t.Run(fmt.Sprint(test.window), func(t *testing.T) {
			eachTransport(t, func(t *testing.T, client, server net.Conn) {
				o := Options{Window: test.window}
				var ends, said sync.WaitGroup
				defer ends.Wait()
				said.Add(2)
				ends.Go(func() {
					c, err := Accept(server, o)
					if err != nil {
						t.Error(err)
						return
					}
					talk(t, c, test.messages, &said)
				})
				c, err := Open(t.Context(), client, "node.test", o)
				if err != nil {
					t.Error(err)
					return
				}
				talk(t, c, test.messages, &said)
			})
		})
	}
}

// talk sends n questions of growing length and answers as many, from its reader where it can. It
// reads until both ends have said all.
func talk(t *testing.T, c *Conn, n int, said *sync.WaitGroup) {
	const question, answer = 'q', 'a'
	queue := make(chan []byte, 2*n) // so that the reader never waits
	for i := range n {
		queue <- append([]byte{question}, noise(i*7)...)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer said.Done()
		for p := range queue {
			if err := c.Send(packet(p)); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		defer c.Close(nil)
		said.Wait()
	})
	defer wg.Wait()
	for answers, questions := 0, 0; ; {
		p, err := c.Receive()
		if err != nil {
			if err != io.EOF && !errors.Is(err, net.ErrClosed) || answers < n || questions < n {
				t.Error(err)
			}
			return
		}
		if p[0] == answer {
			answers++
			if answers > n {
				t.Error("too many answers")
			}
		} else {
			questions++
			reply := packet(p)
			reply[HeadRoom] = answer
			if ok, err := c.TrySend(reply); err != nil {
				t.Error(err)
			} else if !ok {
				queue <- reply[HeadRoom:]
			}
		}
		if answers == n && questions == n {
			close(queue)
		}
	}
}
