package h2serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime/debug"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

type field = hpack.HeaderField

func canonical(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }

// statusTooLarge answers a request whose headers are too long.
const statusTooLarge = http.StatusRequestHeaderFieldsTooLarge

// serve has the Handler serve a request.
func (c *Conn) serve(st *stream) {
	r, err := c.httpRequest(st)
	if err != nil {
		c.serveStatus(st, http.StatusBadRequest)
		return
	}
	c.run(st, r, c.opts.Handler)
}

// serveStatus answers a request that no handler gets to see.
func (c *Conn) serveStatus(st *stream, status int) {
	r := &http.Request{Method: st.request.Method, Header: http.Header{}, URL: new(url.URL), Body: http.NoBody}
	c.run(st, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, http.StatusText(status), status)
	}))
}

// run runs a handler on a goroutine of its own.
func (c *Conn) run(st *stream, r *http.Request, h http.Handler) {
	ctx, cancel := context.WithCancel(c.ctx)
	c.mu.Lock()
	if st.closedLocked() {
		c.mu.Unlock()
		cancel()
		return
	}
	st.serving = handling
	st.cancel = cancel
	if st.state.CanReceive() {
		c.putWindowUpdateLocked(st.id, st.inflow.Grow(c.opts.BodyWindow))
	}
	c.mu.Unlock()
	r = r.WithContext(ctx)
	c.wg.Go(func() {
		defer cancel()
		w := newResponse(st, r)
		ok := false
		defer func() { c.handlerReturned(st, w, ok) }() // after runtime.Goexit too
		ok = c.call(w, r, h)
	})
}

// call calls the handler and reports whether it has returned, and not panicked.
func (c *Conn) call(w *response, r *http.Request, h http.Handler) (ok bool) {
	defer func() {
		if ok {
			return
		}
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is a sentinel
			c.opts.Log.Error("handler panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	h.ServeHTTP(w, r)
	return true
}

// handlerReturned ends the stream of a handler that has returned, ok unless it has panicked.
func (c *Conn) handlerReturned(st *stream, w *response, ok bool) {
	if ok {
		w.finish()
	}
	c.mu.Lock()
	st.discardBodyLocked()
	st.serving = returned
	st.cancel = nil
	switch {
	case st.closedLocked():
		c.streamClosedLocked(st)
	case st.pending != nil: // for windows, without a goroutine
	case st.state.CanSend():
		c.resetStreamLocked(st, http2.ErrCodeInternal)
	default:
		// RFC 9113 section 8.1: the response is whole, the rest of the request is not needed.
		c.resetStreamLocked(st, http2.ErrCodeNo)
	}
	c.mu.Unlock()
	c.Flush()
}

// httpRequest returns a request as handlers know it.
func (c *Conn) httpRequest(st *stream) (*http.Request, error) {
	head := &st.request
	r := &http.Request{
		Method: head.Method, Host: head.Authority, RequestURI: head.Path,
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: make(http.Header, len(head.Fields)),
		RemoteAddr: c.addr, TLS: c.tls, ContentLength: st.length.Declared(),
	}
	var cookies []string
	for _, f := range head.Fields {
		if f.Name == "cookie" {
			cookies = append(cookies, f.Value)
			continue
		}
		r.Header.Add(f.Name, f.Value)
	}
	if len(cookies) > 0 {
		r.Header["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	if r.Host == "" {
		r.Host = r.Header.Get("Host")
	}
	delete(r.Header, "Host")
	if head.Method == http.MethodConnect {
		return nil, errors.New("h2serve: CONNECT is not supported")
	}
	var err error
	if r.URL, err = url.ParseRequestURI(head.Path); err != nil {
		return nil, err
	}
	r.Trailer = announced(r.Header)
	delete(r.Header, "Trailer")
	c.giveBody(st, r)
	return r, nil
}

// giveBody gives a request its body.
func (c *Conn) giveBody(st *stream, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.bodyState == bodyComplete && len(st.body) == 0 && st.length.Received() == 0 {
		r.Body, r.ContentLength = http.NoBody, 0
		return
	}
	expects := httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
	if expects {
		delete(r.Header, "Expect")
	}
	r.Body = &body{st: st, expects: expects, trailer: r.Trailer}
}

// announced returns the trailers that the header Trailer names.
func announced(h http.Header) http.Header {
	var trailer http.Header
	for _, value := range h["Trailer"] {
		for name := range strings.SplitSeq(value, ",") {
			switch key := canonical(textproto.TrimString(name)); key {
			case "Transfer-Encoding", "Trailer", "Content-Length":
			default:
				if trailer == nil {
					trailer = http.Header{}
				}
				trailer[key] = nil
			}
		}
	}
	return trailer
}
