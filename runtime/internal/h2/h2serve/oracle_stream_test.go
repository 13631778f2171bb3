package h2serve_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// pipe begins a request whose body the test writes, and notes the head of the response.
func (w *world) pipe() (*http.Response, *io.PipeWriter) {
	pr, pw := io.Pipe()
	return w.begin(w.request("POST", "/", pr)), pw
}

// TestFullDuplex has both sides speak in turn.
func TestFullDuplex(t *testing.T) {
	turns := func(w *world, rw http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(rw)
		w.notef("handler", "%v %v", rc.EnableFullDuplex(), rc.Flush())
		b := make([]byte, 10)
		for {
			_, err := io.ReadFull(r.Body, b)
			if err != nil {
				w.notef("handler", "%s", kind(err))
				break
			}
			_, _ = rw.Write(bytes.ToUpper(b))
			_ = rc.Flush()
		}
		rw.Header().Set(http.TrailerPrefix+"X-End", "1")
	}
	client := func(w *world) {
		resp, pw := w.pipe()
		if resp == nil {
			return
		}
		b := make([]byte, 10)
		for i := range 100 {
			_, _ = fmt.Fprintf(pw, "turn %5d", i)
			_, err := io.ReadFull(resp.Body, b)
			w.notef("client", "%s %v", b, err)
		}
		_ = pw.Close()
		w.finish(resp)
	}
	differ(t, map[string]scenario{
		"cleartext": {serve: turns, client: client},
		"TLS":       {serve: turns, client: client, tls: true},
		"the server ends first": {
			serve: func(_ *world, rw http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadFull(r.Body, make([]byte, 5))
				_, _ = io.WriteString(rw, "enough")
			},
			client: func(w *world) {
				pr, pw := io.Pipe()
				go func() {
					for {
						if _, err := io.WriteString(pw, "hello"); err != nil {
							w.signal("stopped")
							return
						}
					}
				}()
				w.do(w.request("POST", "/", pr))
				w.wait("stopped")
				w.get("/")
			},
		},
		"one goroutine reads, another writes": {
			serve: func(w *world, rw http.ResponseWriter, r *http.Request) {
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := io.Copy(io.Discard, r.Body)
					w.notef("handler", "%v", err)
				})
				n, err := rw.Write(make([]byte, 20<<20))
				w.notef("writer", "%d %v", n, err)
				_ = http.NewResponseController(rw).Flush()
				wg.Wait()
			},
			client: func(w *world) {
				resp, pw := w.pipe()
				if resp == nil {
					return
				}
				n, err := io.CopyN(io.Discard, resp.Body, 20<<20)
				w.notef("client", "%d %v", n, err)
				_ = pw.Close()
				w.finish(resp)
			},
		},
		"the client reads late": {
			serve: func(w *world, rw http.ResponseWriter, _ *http.Request) {
				for range 100 {
					if _, err := rw.Write(make([]byte, 100_000)); err != nil {
						w.notef("handler", "%v", err)
					}
				}
			},
			client: func(w *world) {
				resp := w.begin(w.request("GET", "/", nil))
				if resp == nil {
					return
				}
				w.get("/") // goes on beside it
				w.finish(resp)
			},
		},
	})
}

// TestFlush sees that what has been flushed arrives while the handler goes on.
func TestFlush(t *testing.T) {
	differ(t, map[string]scenario{
		"head, then body": {
			serve: func(w *world, rw http.ResponseWriter, _ *http.Request) {
				rw.WriteHeader(http.StatusAccepted)
				_ = http.NewResponseController(rw).Flush()
				w.wait("head")
				_, _ = io.WriteString(rw, "hel")
				rw.(http.Flusher).Flush()
				w.wait("hel")
				_, _ = io.WriteString(rw, "lo")
			},
			client: func(w *world) {
				if resp := w.begin(w.request("GET", "/", nil)); resp != nil {
					w.signal("head")
					b := make([]byte, 3)
					_, err := io.ReadFull(resp.Body, b)
					w.notef("client", "%s %v", b, err)
					w.signal("hel")
					w.finish(resp)
				}
			},
		},
		"hints come at once": {
			serve: func(w *world, rw http.ResponseWriter, _ *http.Request) {
				rw.WriteHeader(http.StatusEarlyHints)
				w.wait("hints")
			},
			client: func(w *world) {
				go func() {
					for range time.Tick(time.Millisecond) {
						w.mu.Lock()
						got := len(w.notes["client"]) > 1
						w.mu.Unlock()
						if got {
							w.signal("hints")
							return
						}
					}
				}()
				w.get("/")
			},
		},
		"a body that is expected, read after the head": {
			serve: func(w *world, rw http.ResponseWriter, r *http.Request) {
				flush(w, rw)
				_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				b, err := io.ReadAll(r.Body)
				w.notef("handler", "read %s", whole(b, err))
				_, _ = io.WriteString(rw, "done")
			},
			client: func(w *world) {
				p := w.dialPeer()
				p.preface()
				p.head(1, false, more("expect", "100-continue")...)
				p.finish(1)
			},
		},
		"HEAD": {
			serve: func(w *world, rw http.ResponseWriter, _ *http.Request) {
				flush(w, rw)
				body("hello")(w, rw)
				flush(w, rw)
			},
			client: func(w *world) { w.do(w.request("HEAD", "/", nil)) },
		},
		"after the client has gone": {
			serve: func(w *world, rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/gone" {
					return
				}
				_ = http.NewResponseController(rw).Flush()
				w.signal("head")
				w.ended(r.Context())
				_, err := io.WriteString(rw, strings.Repeat("x", 10_000))
				w.notef("handler", "write: %s", kind(err))
				w.notef("handler", "flush: %s", kind(http.NewResponseController(rw).Flush()))
				w.signal("noticed")
			},
			client: func(w *world) {
				ctx, cancel := context.WithCancel(w.Context())
				resp := w.begin(w.request("GET", "/", nil).WithContext(ctx))
				w.wait("head")
				cancel()
				_ = resp.Body.Close()
				w.wait("noticed")
				w.get("/gone")
			},
		},
	})
}

func TestPanics(t *testing.T) {
	whens := map[string]func(*world, http.ResponseWriter){
		"at once":          func(*world, http.ResponseWriter) {},
		"after head":       func(_ *world, rw http.ResponseWriter) { rw.WriteHeader(http.StatusOK) },
		"after hints":      func(_ *world, rw http.ResponseWriter) { rw.WriteHeader(http.StatusEarlyHints) },
		"after flush":      flush,
		"after body":       body("hello"),
		"after large body": func(w *world, rw http.ResponseWriter) { body(strings.Repeat("x", 20_000))(w, rw); flush(w, rw) },
		"after both":       func(w *world, rw http.ResponseWriter) { body("hello")(w, rw); flush(w, rw) },
		"after all": func(w *world, rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", "5")
			body("hello")(w, rw)
			flush(w, rw)
		},
	}
	hows := map[string]func(){
		"text":            func() { panic("a text") },
		"error":           func() { panic(errors.New("an error")) },
		"ErrAbortHandler": func() { panic(http.ErrAbortHandler) },
		"nil map":         func() { map[string]int(nil)["x"] = 1 }, //nolint:staticcheck // on purpose
		"Goexit":          runtime.Goexit,
	}
	scenarios := make(map[string]scenario)
	for when, say := range whens {
		for how, end := range hows {
			scenarios[how+" "+when] = scenario{
				serve: func(w *world, rw http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/fine" {
						return
					}
					say(w, rw)
					end()
				},
				client: func(w *world) {
					w.get("/")
					w.do(w.request("POST", "/", strings.NewReader("hello")))
					w.get("/fine")
				},
			}
		}
	}
	differ(t, scenarios)
}

func TestDeadlines(t *testing.T) {
	past := time.Unix(1, 0)
	read := func(w *world, r *http.Request, n int) {
		b := make([]byte, n)
		n, err := io.ReadFull(r.Body, b)
		w.notef("handler", "read %q %s", b[:n], kind(err))
	}
	// half has a client that sends a half and no end.
	half := func(w *world) {
		resp, pw := w.pipeHalf()
		if resp != nil {
			w.finish(resp)
		}
		w.signal("over")
		_ = pw.Close()
		w.get("/fine")
	}
	fine := func(serve func(*world, http.ResponseWriter, *http.Request)) func(*world, http.ResponseWriter, *http.Request) {
		return func(w *world, rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/fine" {
				serve(w, rw, r)
			}
		}
	}
	differ(t, map[string]scenario{
		"past, while reading": {client: half, serve: fine(func(w *world, rw http.ResponseWriter, r *http.Request) {
			read(w, r, 4)
			rc := http.NewResponseController(rw)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				read(w, r, 1)
			}()
			err := rc.SetReadDeadline(past)
			<-ended
			w.notef("handler", "set: %v", err)
			read(w, r, 1)
			_, _ = io.WriteString(rw, "late")
		})},
		"past, before": {client: half, serve: fine(func(w *world, rw http.ResponseWriter, r *http.Request) {
			read(w, r, 4)
			w.notef("handler", "set: %v", http.NewResponseController(rw).SetReadDeadline(past))
			read(w, r, 1)
			_, _ = io.WriteString(rw, "late")
		})},
		"soon": {client: half, serve: fine(func(w *world, rw http.ResponseWriter, r *http.Request) {
			read(w, r, 4)
			w.notef("handler", "set: %v", http.NewResponseController(rw).SetReadDeadline(time.Now().Add(20*time.Millisecond)))
			read(w, r, 1)
			w.notef("handler", "again: %v", http.NewResponseController(rw).SetReadDeadline(time.Time{}))
			read(w, r, 1)
			_, _ = io.WriteString(rw, "late")
		})},
		"soon, taken back": {client: half, serve: fine(func(w *world, rw http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(rw)
			w.notef("handler", "set: %v %v", rc.SetReadDeadline(time.Now().Add(time.Hour)), rc.SetReadDeadline(time.Time{}))
			read(w, r, 4)
			_, _ = io.WriteString(rw, "in time")
		})},
		"no body": {serve: func(w *world, rw http.ResponseWriter, r *http.Request) {
			w.notef("handler", "set: %v", http.NewResponseController(rw).SetReadDeadline(past))
			read(w, r, 1)
			_, _ = io.WriteString(rw, "done")
		}},
		"write, past": {client: func(w *world) { w.get("/"); w.get("/fine") }, serve: fine(func(w *world, rw http.ResponseWriter, _ *http.Request) {
			w.notef("handler", "set: %v", http.NewResponseController(rw).SetWriteDeadline(past))
			writeTillError(w, rw)
		})},
		"write, soon": {client: func(w *world) { w.get("/"); w.get("/fine") }, serve: fine(func(w *world, rw http.ResponseWriter, r *http.Request) {
			w.notef("handler", "set: %v", http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
			w.ended(r.Context())
			writeTillError(w, rw)
		})},
		"write, later": {serve: func(w *world, rw http.ResponseWriter, _ *http.Request) {
			w.notef("handler", "set: %v", http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(time.Hour)))
			_, _ = io.WriteString(rw, "done")
		}},
		"write, while waiting for the window": {
			client: func(w *world) {
				if resp := w.begin(w.request("GET", "/", nil)); resp != nil {
					w.signal("head")
					w.wait("stuck")
					_, err := io.Copy(io.Discard, resp.Body)
					w.notef("client", "%v", err)
				}
				w.get("/fine")
			},
			serve: fine(func(w *world, rw http.ResponseWriter, _ *http.Request) {
				_ = http.NewResponseController(rw).Flush()
				w.wait("head")
				_ = http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				_, err := rw.Write(make([]byte, 50<<20))
				w.notef("handler", "%s", kind(err))
				w.signal("stuck")
			}),
		},
	})
}

// pipeHalf begins a request and sends a half.
func (w *world) pipeHalf() (*http.Response, *io.PipeWriter) {
	pr, pw := io.Pipe()
	go func() { _, _ = io.WriteString(pw, "half") }()
	return w.begin(w.request("POST", "/", pr)), pw
}

func writeTillError(w *world, rw http.ResponseWriter) {
	for range 10_000 {
		if _, err := rw.Write(make([]byte, 5000)); err != nil {
			w.notef("handler", "%s", kind(err))
			return
		}
	}
	w.notef("handler", "never")
}

// TestContexts sees what ends a request's context.
func TestContexts(t *testing.T) {
	blocked := func(w *world, rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fine" {
			return
		}
		w.notef("handler", "at first %v", r.Context().Err())
		_ = http.NewResponseController(rw).Flush()
		w.signal("begun")
		_, err := io.Copy(io.Discard, r.Body)
		w.notef("handler", "body: %s", kind(err))
		w.ended(r.Context())
		w.notef("handler", "%v, cause %v", r.Context().Err(), context.Cause(r.Context()))
		w.signal("ended")
	}
	differ(t, map[string]scenario{
		"reset": {serve: blocked, client: func(w *world) {
			ctx, cancel := context.WithCancel(w.Context())
			pr, pw := io.Pipe()
			resp := w.begin(w.request("POST", "/", pr).WithContext(ctx))
			w.wait("begun")
			cancel()
			_ = resp.Body.Close()
			w.wait("ended")
			_ = pw.Close()
			w.get("/fine")
		}},
		"connection lost": {serve: blocked, client: func(w *world) {
			p := w.dialPeer()
			p.preface()
			p.head(1, false, get...)
			w.wait("begun")
			_ = p.nc.Close()
			w.wait("ended")
		}},
		"GOAWAY from the client": {serve: blocked, client: func(w *world) {
			p := w.dialPeer()
			p.preface()
			p.head(1, false, get...)
			w.wait("begun")
			p.do(p.WriteGoAway(0, 0, nil), p.WriteData(1, true, nil))
			p.do(p.WriteRSTStream(1, 8))
			w.wait("ended")
		}},
		"handler's return": {
			serve: func(w *world, _ http.ResponseWriter, r *http.Request) {
				go func() {
					w.ended(r.Context())
					w.notef("after", "%v", r.Context().Err())
					w.signal("ended")
				}()
			},
			client: func(w *world) {
				w.get("/")
				w.wait("ended")
			},
		},
		"body ended": {
			serve: func(w *world, rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.notef("handler", "%v", r.Context().Err())
				_, _ = io.WriteString(rw, "done")
			},
			client: func(w *world) { w.do(w.request("POST", "/", strings.NewReader("hello"))) },
		},
	})
}
