package h2link

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
)

// eachClose runs serve and use as the two ends of a connection of each kind.
func eachClose(t *testing.T, o Options, serve, use func(c *Conn) error) {
	eachTransport(t, func(t *testing.T, client, server net.Conn) {
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			c, err := Accept(server, o)
			if err != nil {
				t.Error(err)
				return
			}
			if err := serve(c); err != nil {
				t.Error("server:", err)
			}
		})
		c, err := Open(t.Context(), client, "node.test", o)
		if err != nil {
			t.Error(err)
			return
		}
		if err := use(c); err != nil {
			t.Error("client:", err)
		}
	})
}

func want(want, got error) error {
	if !errors.Is(got, want) {
		return errors.Join(errors.New("got another error than "+want.Error()), got)
	}
	return nil
}

func TestServerEndsTheCall(t *testing.T) {
	eachClose(t, Options{CloseTimeout: time.Minute}, func(c *Conn) error {
		err := c.Send(packet([]byte("last")))
		c.Close(nil)
		return err
	}, func(c *Conn) error {
		defer c.Close(nil)
		if p, err := c.Receive(); string(p) != "last" {
			return err
		}
		_, err := c.Receive()
		return errors.Join(want(io.EOF, err), want(io.EOF, c.Send(packet(nil))))
	})
}

// The last frames of each end are those that RFC 9113 wants.
func TestFinalFrames(t *testing.T) {
	closing := func(err error) func(*Conn) error {
		return func(c *Conn) error {
			_, _ = c.Receive()
			c.Close(err)
			return nil
		}
	}
	message := func(p *peer) { p.check(p.WriteData(1, false, envelope(0, ""))) }
	end := func(p *peer) { p.check(p.WriteData(1, true, nil)) }
	tests := map[string]struct {
		client bool
		err    error
		say    func(*peer)
		want   []string
	}{
		"server":                   {false, nil, message, []string{"DATA end", "RST_STREAM NO_ERROR", "GOAWAY NO_ERROR"}},
		"server after the client":  {false, nil, end, []string{"DATA end", "GOAWAY NO_ERROR"}},
		"server after a reset":     {false, nil, func(p *peer) { p.check(p.WriteRSTStream(1, http2.ErrCodeCancel)) }, []string{"GOAWAY NO_ERROR"}},
		"server after a breach":    {false, nil, func(p *peer) { p.check(p.WriteWindowUpdate(0, 0)) }, []string{"GOAWAY PROTOCOL_ERROR"}},
		"client":                   {true, nil, message, []string{"DATA end", "GOAWAY NO_ERROR"}},
		"client with an error":     {true, errRefused, message, []string{"RST_STREAM CANCEL", "GOAWAY NO_ERROR"}},
		"client after the server":  {true, nil, func(p *peer) { p.check(p.WriteData(1, true, envelope(flagEndStream, "{}"))) }, []string{"GOAWAY NO_ERROR"}},
		"client after a breach":    {true, errRefused, func(p *peer) { p.check(p.WriteWindowUpdate(0, 0)) }, []string{"GOAWAY PROTOCOL_ERROR"}},
		"client after END_STREAM ": {true, nil, end, []string{"GOAWAY NO_ERROR"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p *peer
			if test.client {
				p, _ = serverOf(t, Options{}, closing(test.err))
				p.answer()
			} else {
				p, _ = clientOf(t, Options{}, closing(test.err))
				p.call()
			}
			test.say(p)
			var got []string
			for len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "GOAWAY") {
				f, err := p.ReadFrame()
				if err != nil {
					t.Fatalf("got %v, then %v", got, err)
				}
				switch f := f.(type) {
				case *http2.DataFrame:
					if f.StreamEnded() {
						got = append(got, "DATA end")
					}
				case *http2.RSTStreamFrame:
					got = append(got, "RST_STREAM "+f.ErrCode.String())
				case *http2.GoAwayFrame:
					got = append(got, "GOAWAY "+f.ErrCode.String())
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			_ = p.nc.Close()
		})
	}
}

// A packet that is not whole is not passed for one: the stream is reset.
func TestCloseWithinAPacket(t *testing.T) {
	use := func(c *Conn) error {
		sent := make(chan error, 1)
		go func() { sent <- c.Send(packet(make([]byte, 100))) }()
		c.mu.Lock()
		for c.state.message != messageSending || c.state.streamOutflow.Available() != 0 {
			c.cond.Wait()
		}
		c.mu.Unlock()
		c.Close(nil)
		return <-sent
	}
	settings := http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20}
	for _, client := range []bool{false, true} {
		var p *peer
		var result <-chan error
		if client {
			p, result = serverOf(t, Options{}, func(c *Conn) error {
				if _, err := c.Receive(); err != nil { // the SETTINGS have come
					return err
				}
				return use(c)
			})
			p.request()
			p.check(p.WriteSettings(settings))
			p.head(1, false, ":status", "200", "content-type", contentType)
			p.check(p.WriteData(1, false, envelope(0, "")))
		} else {
			p, result = clientOf(t, Options{}, use)
			p.preface(settings)
			p.head(1, false, callHead...)
		}
		if f := await[*http2.RSTStreamFrame](p); f.ErrCode != http2.ErrCodeCancel {
			t.Errorf("got %v", f)
		}
		p.wantGoAway(http2.ErrCodeNo)
		_ = p.nc.Close()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

// What the client still sends does not keep the server's error from it.
func TestServerFailsTheCallWhileTheClientSends(t *testing.T) {
	eachClose(t, Options{CloseTimeout: time.Minute}, func(c *Conn) error {
		if _, err := c.Receive(); err != nil {
			return err
		}
		c.Close(errRefused)
		return nil
	}, func(c *Conn) error {
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for c.Send(packet(make([]byte, 10_000))) == nil {
			}
		})
		defer c.Close(nil)
		_, err := c.Receive()
		checkRefused(t, err)
		return nil
	})
}

// The end is told in pieces where the client grants no more.
func TestServerEndsTheCallThroughATinyWindow(t *testing.T) {
	eachClose(t, Options{CloseTimeout: time.Minute, Window: 3}, func(c *Conn) error {
		c.Close(errRefused)
		return nil
	}, func(c *Conn) error {
		defer c.Close(nil)
		_, err := c.Receive()
		checkRefused(t, err)
		return nil
	})
}

// Errors that are not Connect's are nobody's business but the server's.
func TestServerKeepsOtherErrorsToItself(t *testing.T) {
	eachClose(t, Options{CloseTimeout: time.Minute}, func(c *Conn) error {
		c.Close(errors.New("secret"))
		return nil
	}, func(c *Conn) error {
		defer c.Close(nil)
		_, err := c.Receive()
		if ce, ok := errors.AsType[*connect.Error](err); !ok || ce.Code() != connect.CodeUnknown || ce.Message() != "" {
			return err
		}
		return nil
	})
}

func TestClientEndsTheCall(t *testing.T) {
	eachClose(t, Options{CloseTimeout: time.Minute}, func(c *Conn) error {
		defer c.Close(nil)
		if p, err := c.Receive(); string(p) != "last" {
			return err
		}
		_, err := c.Receive()
		return want(io.EOF, err)
	}, func(c *Conn) error {
		err := c.Send(packet([]byte("last")))
		c.Close(nil)
		return err
	})
}

func TestClientResetsTheCall(t *testing.T) {
	eachClose(t, Options{CloseTimeout: time.Minute}, func(c *Conn) error {
		defer c.Close(nil)
		if err := c.Send(packet(nil)); err != nil {
			return err
		}
		_, err := c.Receive()
		if connect.CodeOf(err) != connect.CodeCanceled {
			return err
		}
		return nil
	}, func(c *Conn) error {
		_, err := c.Receive() // nothing is left to read: the system would reset the connection
		c.Close(errRefused)
		return err
	})
}

func TestBothEndsCloseAtOnce(t *testing.T) {
	end := func(c *Conn) error {
		c.Close(nil)
		return nil
	}
	eachClose(t, Options{CloseTimeout: time.Minute}, end, end)
}

// Close ends what waits, and its later calls do nothing.
func TestCloseUnblocks(t *testing.T) {
	eachClose(t, Options{CloseTimeout: time.Minute}, func(c *Conn) error {
		if err := c.Send(packet(nil)); err != nil {
			return err
		}
		c.Close(drainConn(c))
		return nil
	}, func(c *Conn) error {
		if _, err := c.Receive(); err != nil {
			return err
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		for range 3 {
			wg.Go(func() {
				for {
					if err := c.Send(packet(make([]byte, 100))); err != nil {
						if err := want(net.ErrClosed, err); err != nil {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		received := make(chan error, 1)
		wg.Go(func() {
			_, err := c.Receive()
			received <- err
		})
		for range 3 {
			wg.Go(func() { c.Close(nil) })
		}
		c.Close(errTestOver)
		_, err := c.Receive()
		return errors.Join(want(net.ErrClosed, <-received), want(net.ErrClosed, err))
	})
}

// Close gives a peer that says nothing more no longer than its time.
func TestCloseTakesItsTimeAtMost(t *testing.T) {
	for _, client := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			closed := make(chan time.Duration, 1)
			end := func(c *Conn) error {
				start := time.Now()
				c.Close(nil)
				closed <- time.Since(start)
				return nil
			}
			if client {
				p, _ := serverOver(t, near, far, Options{CloseTimeout: 7 * time.Second}, end)
				p.request()
			} else {
				p, _ := clientOver(t, near, far, Options{CloseTimeout: 7 * time.Second}, end)
				p.enqueue(p.call)
				await[*http2.MetaHeadersFrame](p)
			}
			if took := <-closed; took != 7*time.Second {
				t.Errorf("Close of client %v took %v", client, took)
			}
		})
	}
}

func TestHandshakeTimeouts(t *testing.T) {
	tests := map[string]func(p *peer){
		"nothing":        func(*peer) {},
		"half a preface": func(p *peer) { _, _ = io.WriteString(p.nc, http2.ClientPreface[:10]) },
		"no request":     func(p *peer) { p.preface() },
		"half a request": func(p *peer) { p.splitHead() },
	}
	for name, start := range tests {
		t.Run("server "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				began := time.Now()
				p, result := clientOver(t, near, far, Options{HandshakeTimeout: 3 * time.Second}, drainConn)
				p.enqueue(func() { start(p) })
				go func() { _, _ = io.Copy(io.Discard, near) }()
				wantError(t, result, connect.CodeDeadlineExceeded, "3s")
				if took := time.Since(began); took != 3*time.Second+time.Second { // and that of Close
					t.Errorf("took %v", took)
				}
			})
		})
	}
	t.Run("client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			p, result := serverOver(t, near, far, Options{HandshakeTimeout: 3 * time.Second}, drainConn)
			p.request()
			p.enqueue(func() { p.check(p.WriteSettings()) })
			go func() { _, _ = io.Copy(io.Discard, near) }()
			wantError(t, result, connect.CodeDeadlineExceeded, "3s")
		})
	})
	t.Run("client's request is not read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			_, result := serverOver(t, near, far, Options{HandshakeTimeout: 3 * time.Second}, drainConn)
			wantError(t, result, connect.CodeUnavailable, "not read")
		})
	})
}

// Once the call is open, silence is the session's affair.
func TestSilenceEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		links := NewListener(inner, Options{}, echoConn)
		c, err := Open(t.Context(), inner.dial(), "node.test", Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			roundTrip(t, connStream{c}, []byte("still there?"))
			time.Sleep(time.Hour) // fake time
		}
		c.Close(nil)
		_ = links.Close()
		links.Wait()
	})
}

// A peer that grants no window, or does not read, costs a Send no more than its time.
func TestSendTimeouts(t *testing.T) {
	o := Options{WriteTimeout: 20 * time.Second}
	send := func(took *time.Duration) func(c *Conn) error {
		return func(c *Conn) error {
			sent := make(chan error, 1)
			go func() {
				start := time.Now()
				err := c.Send(packet(make([]byte, 100_000))) // 64 KiB are begun twice
				*took = time.Since(start)
				sent <- err
			}()
			_, err := c.Receive()
			return errors.Join(<-sent, err)
		}
	}
	t.Run("window", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var took time.Duration
			near, far := net.Pipe()
			p, result := clientOver(t, noDeadline{near}, far, o, send(&took))
			p.enqueue(p.call)
			p.wantGoAway(http2.ErrCodeFlowControl)
			wantError(t, result, connect.CodeUnavailable, "window")
			if took != 40*time.Second {
				t.Errorf("took %v", took)
			}
		})
	})
	t.Run("socket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var took time.Duration
			near, far := net.Pipe()
			p, result := clientOver(t, near, far, o, send(&took))
			p.enqueue(p.call)
			await[*http2.MetaHeadersFrame](p)
			wantError(t, result, connect.CodeUnavailable, "not read")
			if took < 40*time.Second || took > 50*time.Second {
				t.Errorf("took %v", took)
			}
		})
	})
}

type noDeadline struct{ net.Conn }

func (noDeadline) SetReadDeadline(time.Time) error { return nil }

func TestOpenContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := Open(ctx, far, "node.test", Options{})
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if _, err := far.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the connection is still open: %v", err)
		}
	})
}
