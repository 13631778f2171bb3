package h2serve_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestResponses has handlers that differ in what they say.
func TestResponses(t *testing.T) {
	says := map[string]func(w *world, rw http.ResponseWriter){
		"nothing":  func(*world, http.ResponseWriter) {},
		"a little": func(_ *world, rw http.ResponseWriter) { _, _ = io.WriteString(rw, "hello") },
		"in two pieces": func(_ *world, rw http.ResponseWriter) {
			_, _ = io.WriteString(rw, "hel")
			_, _ = rw.Write([]byte("lo"))
		},
		"nothing, at length": func(w *world, rw http.ResponseWriter) {
			n, err := rw.Write(nil)
			w.notef("handler", "%d %v", n, err)
		},
		"html":                  body("<html><body>hello"),
		"what one buffer holds": body(strings.Repeat("x", 4096)),
		"one more":              body(strings.Repeat("x", 4097)),
		"much":                  body(strings.Repeat("x", 100_000)),
		"much, byte by byte":    func(_ *world, rw http.ResponseWriter) { writeBytes(rw, 10_000) },
		"binary":                body("\x00\x01\x02"),
		"content type":          with(body("{}"), "Content-Type", "application/json"),
		"no content type":       func(w *world, rw http.ResponseWriter) { rw.Header()["Content-Type"] = nil; body("hello")(w, rw) },
		"empty content type":    with(body("hello"), "Content-Type", ""),
		"content encoding":      with(body("hello"), "Content-Encoding", "br"),
		"no date":               func(w *world, rw http.ResponseWriter) { rw.Header()["Date"] = nil; body("hello")(w, rw) },
		"many values":           func(_ *world, rw http.ResponseWriter) { rw.Header()["X-Many"] = []string{"1", "", "3"} },
		"odd case":              func(_ *world, rw http.ResponseWriter) { rw.Header()["x-ODD"] = []string{"1"} },
		"invalid name":          with(body("hello"), "bad name", "x"),
		"invalid value":         with(body("hello"), "X-Value", "a\r\nb"),
		"keep-alive":            with(body("hello"), "Connection", "keep-alive"),
		"transfer encoding":     with(body("hello"), "Transfer-Encoding", "chunked"),
		"proxy connection":      with(body("hello"), "Proxy-Connection", "x"),
		"upgrade":               with(body("hello"), "Upgrade", "x"),
		"cookies":               func(_ *world, rw http.ResponseWriter) { cookie(rw, "a"); cookie(rw, "b") },
		"length":                with(body("hello"), "Content-Length", "5"),
		"length of nothing":     with(body(""), "Content-Length", "0"),
		"length but nothing":    with(body(""), "Content-Length", "5"),
		"less than its length":  with(body("hell"), "Content-Length", "5"),
		"more than its length":  with(body("hello!"), "Content-Length", "5"),
		"more, in two pieces": func(w *world, rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", "5")
			body("hello")(w, rw)
			body("!")(w, rw)
		},
		"no length":                with(body("hello"), "Content-Length", "five"),
		"negative length":          with(body("hello"), "Content-Length", "-5"),
		"status 201":               status(201, "made"),
		"status 204":               status(204, ""),
		"status 204 with a body":   status(204, "hello"),
		"status 205":               status(205, ""),
		"status 304":               status(304, ""),
		"status 304 with a body":   status(304, "hello"),
		"status 304 with a length": with(status(304, ""), "Content-Length", "5"),
		"status 404":               status(404, "lost"),
		"status 500":               status(500, ""),
		"status 999":               status(999, "what"),
		"status 99":                status(99, ""),
		"status 1000":              status(1000, ""),
		"status 0":                 status(0, ""),
		"status twice": func(w *world, rw http.ResponseWriter) {
			rw.WriteHeader(http.StatusCreated)
			status(500, "hello")(w, rw)
		},
		"status after the body": func(w *world, rw http.ResponseWriter) {
			body("hello")(w, rw)
			rw.WriteHeader(http.StatusInternalServerError)
		},
		"status 204 after flush": func(w *world, rw http.ResponseWriter) { flush(w, rw); status(204, "x")(w, rw) },
		"header after the head": func(w *world, rw http.ResponseWriter) {
			rw.WriteHeader(http.StatusOK)
			with(body("hello"), "X-Late", "1")(w, rw)
		},
		"header after the body": func(w *world, rw http.ResponseWriter) { body("hello")(w, rw); rw.Header().Set("X-Late", "1") },
		"header after flush":    func(w *world, rw http.ResponseWriter) { flush(w, rw); with(body("hello"), "X-Late", "1")(w, rw) },
		"flush alone":           flush,
		"flush after the body":  func(w *world, rw http.ResponseWriter) { body("hello")(w, rw); flush(w, rw) },
		"flush within":          func(w *world, rw http.ResponseWriter) { body("hel")(w, rw); flush(w, rw); body("lo")(w, rw) },
		"http.Error":            func(_ *world, rw http.ResponseWriter) { http.Error(rw, "bad", http.StatusBadRequest) },
		"hints": func(w *world, rw http.ResponseWriter) {
			rw.Header().Add("Link", "</a>; rel=preload")
			rw.WriteHeader(http.StatusEarlyHints)
			rw.Header().Add("Link", "</b>; rel=preload")
			rw.WriteHeader(http.StatusEarlyHints)
			body("hello")(w, rw)
		},
		"hints and length": func(w *world, rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", "5")
			rw.WriteHeader(http.StatusEarlyHints)
			body("hello")(w, rw)
		},
		"processing": func(w *world, rw http.ResponseWriter) {
			rw.WriteHeader(http.StatusProcessing)
			status(201, "hello")(w, rw)
		},
		"continue": func(w *world, rw http.ResponseWriter) {
			rw.WriteHeader(http.StatusContinue)
			status(201, "hello")(w, rw)
		},
		"hints after the head": func(w *world, rw http.ResponseWriter) {
			rw.WriteHeader(http.StatusOK)
			rw.WriteHeader(http.StatusEarlyHints)
			body("hello")(w, rw)
		},
		"hints alone":            func(_ *world, rw http.ResponseWriter) { rw.WriteHeader(http.StatusEarlyHints) },
		"switching protocols":    status(101, ""),
		"http.ResponseWriter is": facets,
	}
	scenarios := make(map[string]scenario)
	for name, say := range says {
		serve := func(w *world, rw http.ResponseWriter, _ *http.Request) {
			defer func() {
				if v := recover(); v != nil {
					w.notef("handler", "panic")
					panic(v)
				}
			}()
			say(w, rw)
		}
		for _, method := range []string{"GET", "HEAD"} {
			scenarios[method+" "+name] = scenario{serve: serve, client: func(w *world) {
				w.do(w.request(method, "/", nil))
				w.do(w.request(method, "/", nil))
			}}
		}
	}
	differ(t, scenarios)
}

func body(text string) func(*world, http.ResponseWriter) {
	return func(w *world, rw http.ResponseWriter) {
		n, err := io.WriteString(rw, text)
		w.notef("handler", "wrote %d, %s", n, kind(err))
	}
}

func with(say func(*world, http.ResponseWriter), name, value string) func(*world, http.ResponseWriter) {
	return func(w *world, rw http.ResponseWriter) {
		rw.Header()[name] = []string{value}
		say(w, rw)
	}
}

func status(code int, text string) func(*world, http.ResponseWriter) {
	return func(w *world, rw http.ResponseWriter) {
		rw.WriteHeader(code)
		if text != "" {
			body(text)(w, rw)
		}
	}
}

func flush(w *world, rw http.ResponseWriter) {
	_ = http.NewResponseController(rw).Flush() // of a HEAD it may fail with net/http
	w.notef("handler", "flushed")
}

func writeBytes(rw http.ResponseWriter, n int) {
	for i := range n {
		_, _ = rw.Write([]byte{byte(i)})
	}
}

func cookie(rw http.ResponseWriter, name string) {
	http.SetCookie(rw, &http.Cookie{Name: name, Value: "1"})
}

// facets notes what else a ResponseWriter can do.
func facets(w *world, rw http.ResponseWriter) {
	_, flusher := rw.(http.Flusher)
	_, flushError := rw.(interface{ FlushError() error })
	_, stringWriter := rw.(io.StringWriter)
	_, hijacker := rw.(http.Hijacker)
	_, readerFrom := rw.(io.ReaderFrom)
	w.notef("handler", "%t %t %t %t %t", flusher, flushError, stringWriter, hijacker, readerFrom)
	rc := http.NewResponseController(rw)
	w.notef("handler", "full duplex: %v", rc.EnableFullDuplex())
	_, _, err := rc.Hijack()
	w.notef("handler", "hijack: %s", kind(err))
}

func TestTrailers(t *testing.T) {
	announced := func(names string, say func(*world, http.ResponseWriter)) func(*world, http.ResponseWriter) {
		return func(w *world, rw http.ResponseWriter) {
			rw.Header().Set("Trailer", names)
			say(w, rw)
		}
	}
	set := func(say func(*world, http.ResponseWriter), pairs ...string) func(*world, http.ResponseWriter) {
		return func(w *world, rw http.ResponseWriter) {
			say(w, rw)
			for i := 0; i < len(pairs); i += 2 {
				rw.Header().Add(pairs[i], pairs[i+1])
			}
		}
	}
	says := map[string]func(*world, http.ResponseWriter){
		"announced":                 announced("X-End, X-Other", set(body("hello"), "X-End", "1", "X-Other", "2")),
		"announced, lower case":     announced("x-end", set(body("hello"), "X-End", "1")),
		"announced, two values":     announced("X-End", set(body("hello"), "X-End", "1", "X-End", "2")),
		"announced, none set":       announced("X-End", body("hello")),
		"announced, no body":        announced("X-End", set(body(""), "X-End", "1")),
		"announced, flush, no body": announced("X-End", set(flush, "X-End", "1")),
		"announced, large body":     announced("X-End", set(body(strings.Repeat("x", 50_000)), "X-End", "1")),
		"announced, set too early":  announced("X-End", with(body("hello"), "X-End", "1")),
		"announced, forbidden":      announced("Content-Length, Transfer-Encoding, Trailer, X-End", set(body("hello"), "X-End", "1", "Content-Length", "7")),
		"announced after the body": func(w *world, rw http.ResponseWriter) {
			body("hello")(w, rw)
			announced("X-End", set(flush, "X-End", "1"))(w, rw)
		},
		"announced in two headers": func(w *world, rw http.ResponseWriter) {
			rw.Header().Add("Trailer", "X-End")
			rw.Header().Add("Trailer", "X-Other")
			set(body("hello"), "X-End", "1", "X-Other", "2")(w, rw)
		},
		"prefix": set(body("hello"), http.TrailerPrefix+"X-End", "1"),
		"prefix, lower case": func(w *world, rw http.ResponseWriter) {
			body("hello")(w, rw)
			rw.Header()[http.TrailerPrefix+"x-end"] = []string{"1"}
		},
		"prefix, no body":        set(body(""), http.TrailerPrefix+"X-End", "1"),
		"prefix, flush":          set(flush, http.TrailerPrefix+"X-End", "1"),
		"prefix, before body":    with(body("hello"), http.TrailerPrefix+"X-End", "1"),
		"prefix, large":          set(body(strings.Repeat("x", 50_000)), http.TrailerPrefix+"X-End", strings.Repeat("y", 30_000)),
		"prefix, forbidden":      set(body("hello"), http.TrailerPrefix+"Content-Length", "1", http.TrailerPrefix+"X-End", "1"),
		"prefix, invalid value":  set(body("hello"), http.TrailerPrefix+"X-End", "a\nb", http.TrailerPrefix+"X-Good", "1"),
		"prefix, status 204":     set(status(204, ""), http.TrailerPrefix+"X-End", "1"),
		"both":                   announced("X-End", set(body("hello"), "X-End", "1", http.TrailerPrefix+"X-Other", "2")),
		"grpc":                   announced("Grpc-Status, Grpc-Message", set(flush, "Grpc-Status", "0", "Grpc-Message", "")),
		"announced and a length": announced("X-End", with(set(body("hello"), "X-End", "1"), "Content-Length", "5")),
		"announced, length of 0": announced("X-End", with(set(body(""), "X-End", "1"), "Content-Length", "0")),
		"prefix and a length":    with(set(body("hello"), http.TrailerPrefix+"X-End", "1"), "Content-Length", "5"),
	}
	scenarios := make(map[string]scenario)
	for name, say := range says {
		serve := func(w *world, rw http.ResponseWriter, _ *http.Request) { say(w, rw) }
		for _, method := range []string{"GET", "HEAD"} {
			scenarios[method+" "+name] = scenario{serve: serve, client: func(w *world) { w.do(w.request(method, "/", nil)) }}
		}
	}
	differ(t, scenarios)
}
