package h2serve_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// describe notes all there is to know of a request but its body.
func describe(w *world, r *http.Request) {
	w.notef("handler", "%s %q %q %q %s %d.%d", r.Method, r.URL, r.RequestURI, r.Host, r.Proto, r.ProtoMajor, r.ProtoMinor)
	w.notef("handler", "URL %#v", url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery, Opaque: r.URL.Opaque})
	w.notef("handler", "header %q", map[string][]string(r.Header))
	w.notef("handler", "length %d, encoding %v, close %t, TLS %t, user %v, pattern %q", r.ContentLength, r.TransferEncoding, r.Close, r.TLS != nil, r.URL.User, r.Pattern)
	w.notef("handler", "trailer %q", map[string][]string(r.Trailer))
	w.notef("handler", "from %s", r.RemoteAddr)
}

func describeAll(w *world, rw http.ResponseWriter, r *http.Request) {
	describe(w, r)
	b, err := io.ReadAll(r.Body)
	w.notef("handler", "body %s", whole(b, err))
	w.notef("handler", "trailer %q", map[string][]string(r.Trailer))
	n, err := r.Body.Read(make([]byte, 1))
	w.notef("handler", "then %d %s", n, kind(err))
	w.notef("handler", "close %v", r.Body.Close())
	n, err = r.Body.Read(make([]byte, 1))
	w.notef("handler", "then %d %t", n, err != nil)
	_, _ = io.WriteString(rw, "done")
}

// plain hides what a body is, and how long.
type plain struct{ io.Reader }

func TestRequests(t *testing.T) {
	sends := map[string]func(w *world) *http.Request{
		"get":         func(w *world) *http.Request { return w.request("GET", "/", nil) },
		"delete":      func(w *world) *http.Request { return w.request("DELETE", "/a/b", nil) },
		"odd method":  func(w *world) *http.Request { return w.request("BREW", "/pot", nil) },
		"lower case":  func(w *world) *http.Request { return w.request("get", "/", nil) },
		"query":       func(w *world) *http.Request { return w.request("GET", "/a?b=c&d=%20e;f", nil) },
		"empty query": func(w *world) *http.Request { return w.request("GET", "/a?", nil) },
		"escaped":     func(w *world) *http.Request { return w.request("GET", "/a%2fb/%C3%A9 c", nil) },
		"two slashes": func(w *world) *http.Request { return w.request("GET", "//a//b", nil) },
		"dots":        func(w *world) *http.Request { return w.request("GET", "/a/../b/./c", nil) },
		"host":        func(w *world) *http.Request { r := w.request("GET", "/", nil); r.Host = "other.test:81"; return r },
		"user": func(w *world) *http.Request {
			r := w.request("GET", "/", nil)
			r.URL.User = url.UserPassword("me", "x")
			return r
		},
		"options of all": func(w *world) *http.Request {
			r := w.request("OPTIONS", "/", nil)
			r.URL.Path, r.URL.Opaque = "", "*"
			return r
		},
		"post":            post("hello"),
		"post of nothing": post(""),
		"post of unknown": func(w *world) *http.Request { return w.request("POST", "/", plain{strings.NewReader("hello")}) },
		"post, unknown, nothing": func(w *world) *http.Request {
			return w.request("POST", "/", plain{strings.NewReader("")})
		},
		"large post": post(strings.Repeat("0123456789", 100_000)),
		"large, unknown": func(w *world) *http.Request {
			return w.request("POST", "/", plain{strings.NewReader(strings.Repeat("0123456789", 100_000))})
		},
		"headers":            headers("X-One", "1", "X-Two", "2", "X-Two", "3", "X-Empty", "", "User-Agent", "test", "Accept-Encoding", "br"),
		"cookies":            headers("Cookie", "a=1; b=2", "Cookie", "c=3;d=4"),
		"te trailers":        headers("Te", "trailers"),
		"accept":             headers("Accept", "a/b", "Accept", "c/d"),
		"long header":        headers("X-Long", strings.Repeat("x", 50_000)),
		"many headers":       headers(many(300)...),
		"header with spaces": headers("X-Space", "  a b  "),
		"utf8 header":        headers("X-Utf8", "é"),
		"expect":             expect(post("hello")),
		"expect, large":      expect(post(strings.Repeat("0123456789", 100_000))),
		"trailer": func(w *world) *http.Request {
			r := w.request("POST", "/", nil)
			r.Trailer = http.Header{"X-End": nil, "X-Unset": nil}
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("hello"), after(func() { r.Trailer.Set("X-End", "1") })))
			return r
		},
		"trailer, no body": func(w *world) *http.Request {
			r := w.request("POST", "/", nil)
			r.Trailer = http.Header{"X-End": {"1", "2"}}
			r.Body = io.NopCloser(after(func() {}))
			return r
		},
	}
	scenarios := make(map[string]scenario)
	for name, send := range sends {
		client := func(w *world) {
			w.do(send(w))
			w.do(send(w))
		}
		scenarios[name] = scenario{serve: describeAll, client: client}
		scenarios[name+" over TLS"] = scenario{serve: describeAll, client: client, tls: true}
		if strings.HasPrefix(name, "trailer") {
			continue // those that come for a stream that is over may end the connection with net/http
		}
		scenarios[name+", body unread"] = scenario{client: client, serve: func(w *world, rw http.ResponseWriter, r *http.Request) {
			describe(w, r)
			_, _ = io.WriteString(rw, "unread")
		}}
	}
	differ(t, scenarios)
}

// after is an empty reader that has f called when it is read.
func after(f func()) io.Reader {
	return readerFunc(func([]byte) (int, error) {
		f()
		return 0, io.EOF
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func post(text string) func(*world) *http.Request {
	return func(w *world) *http.Request { return w.request("POST", "/", strings.NewReader(text)) }
}

func headers(pairs ...string) func(*world) *http.Request {
	return func(w *world) *http.Request {
		r := w.request("GET", "/", nil)
		for i := 0; i < len(pairs); i += 2 {
			r.Header.Add(pairs[i], pairs[i+1])
		}
		return r
	}
}

func many(n int) (pairs []string) {
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("X-%d", i), "value")
	}
	return pairs
}

func expect(send func(*world) *http.Request) func(*world) *http.Request {
	return func(w *world) *http.Request {
		r := send(w)
		r.Header.Set("Expect", "100-continue")
		return r
	}
}

// TestContextValues sees what a handler may ask of its context, its connection and TLS.
func TestContextValues(t *testing.T) {
	s := scenario{serve: func(w *world, _ http.ResponseWriter, r *http.Request) {
		w.notef("handler", "base %v", r.Context().Value(contextKey("base")))
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		w.notef("handler", "local %v, %t", local, local.String() == w.addr)
		if r.TLS != nil {
			w.notef("handler", "%t %d %s %s", r.TLS.HandshakeComplete, r.TLS.Version, r.TLS.NegotiatedProtocol, r.TLS.ServerName)
		}
	}}
	overTLS := s
	overTLS.tls = true
	differ(t, map[string]scenario{"cleartext": s, "TLS": overTLS})
}

// TestLargeBodies moves 10 MiB each way, by itself and at once.
func TestLargeBodies(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)
	sum := func(w *world, rw http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		w.notef("handler", "%d %x %v", n, h.Sum(nil), err)
		_, _ = io.WriteString(rw, "done")
	}
	differ(t, map[string]scenario{
		"up":            {serve: sum, client: func(w *world) { w.do(w.request("POST", "/", bytes.NewReader(large))) }},
		"down":          {serve: func(_ *world, rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(large) }},
		"down over TLS": {tls: true, serve: func(_ *world, rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(large) }},
		"both": {
			serve:  func(_ *world, rw http.ResponseWriter, r *http.Request) { _, _ = io.Copy(rw, r.Body) },
			client: func(w *world) { w.do(w.request("POST", "/", bytes.NewReader(large))) },
		},
		"both over TLS": {
			tls:    true,
			serve:  func(_ *world, rw http.ResponseWriter, r *http.Request) { _, _ = io.Copy(rw, r.Body) },
			client: func(w *world) { w.do(w.request("POST", "/", bytes.NewReader(large))) },
		},
		// What nobody reads must not use up the connection's window.
		"up, unread": {
			serve: func(_ *world, rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "unread") },
			client: func(w *world) {
				w.get("/")
				for range 40 {
					resp := w.begin(w.request("POST", "/", bytes.NewReader(large[:200_000])))
					if resp == nil {
						return
					}
					w.finish(resp)
				}
			},
		},
		"up, half read, then closed": {
			serve: func(_ *world, rw http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadFull(r.Body, make([]byte, 1000))
				_ = r.Body.Close()
				_, _ = io.WriteString(rw, "enough")
			},
			client: func(w *world) {
				for range 40 {
					w.do(w.request("POST", "/", bytes.NewReader(large[:200_000])))
				}
			},
		},
	})
}

// TestManyStreams has as many requests at once as there may be streams.
func TestManyStreams(t *testing.T) {
	differ(t, map[string]scenario{"echo": {
		maxStreams: 50,
		serve: func(_ *world, rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(rw, r.Body)
			rw.Header().Set(http.TrailerPrefix+"X-End", r.Header.Get("X-Number"))
		},
		client: func(w *world) {
			w.get("/") // there is a connection, and its SETTINGS are known
			results, turns := make(chan string), make(chan int)
			for range 50 {
				go func() {
					for i := range turns {
						results <- w.echo(i)
					}
				}()
			}
			go func() {
				defer close(turns)
				for i := range 200 {
					turns <- i
				}
			}()
			var all []string
			for range 200 {
				all = append(all, <-results)
			}
			slices.Sort(all)
			w.notef("client", "%q", slices.Compact(all))
		},
	}})
}

func (w *world) echo(i int) string {
	text := strings.Repeat(fmt.Sprint(i, ","), 1000+10*i)
	r := w.request("POST", "/", strings.NewReader(text))
	r.Header.Set("X-Number", fmt.Sprint(i))
	resp, err := w.client.Do(r)
	if err != nil {
		return err.Error()
	}
	got, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return fmt.Sprint(string(got) == text, err, resp.Trailer.Get("X-End") == fmt.Sprint(i), len(maps.Clone(resp.Trailer)))
}
