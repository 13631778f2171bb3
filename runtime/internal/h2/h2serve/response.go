package h2serve

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// responseBuffer is how much of a body is held back at most, so that it leaves in few frames, or with its
// length.
const responseBuffer = 4 << 10

// response is the http.ResponseWriter of one request.
type response struct {
	st     *stream
	r      *http.Request
	header http.Header

	status   int         // 0: WriteHeader has not been called
	head     http.Header // a copy, as of WriteHeader
	sent     bool        // the headers have been put
	done     bool        // the handler has returned
	buf      []byte
	length   int64 // what content-length says; -1: nothing
	written  int64
	trailers []string // announced
	err      error
}

func newResponse(st *stream, r *http.Request) *response {
	return &response{st: st, r: r, header: http.Header{}, length: -1}
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status < 100 || status > 999 {
		panic("h2serve: invalid status " + strconv.Itoa(status))
	}
	if status < 200 {
		h := w.header.Clone()
		h.Del("Content-Length") // RFC 9110 section 8.6
		w.err = w.st.sendHead(w.fields(status, h), false)
		w.st.c.Flush()
		return
	}
	w.status = status
	w.head = w.header.Clone()
	for key := range announced(w.head) {
		if httpguts.ValidTrailerHeader(key) {
			w.trailers = append(w.trailers, key)
		}
	}
	if n, err := strconv.ParseInt(w.head.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		w.length = n
	} else {
		delete(w.head, "Content-Length")
	}
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) { return w.write(len(p), p, "") }

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) { return w.write(len(s), nil, s) }

func (w *response) write(n int, p []byte, s string) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case !bodyAllowed(w.status):
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+int64(n) > w.length:
		return 0, http.ErrContentLength
	}
	w.written += int64(n)
	if len(w.buf)+n > responseBuffer {
		if w.err = w.flushBuffered(); w.err != nil {
			return 0, w.err
		}
		if n >= responseBuffer {
			if p == nil {
				p = []byte(s)
			}
			w.err = w.put(p)
			return n, w.err
		}
	}
	w.buf = append(append(w.buf, p...), s...)
	return n, nil
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController flushes by.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.err == nil {
		w.err = w.flushBuffer()
	}
	w.st.c.Flush()
	return w.err
}

// SetReadDeadline is http.ResponseController's.
func (w *response) SetReadDeadline(t time.Time) error {
	w.st.setDeadline(&w.st.readDeadline, t)
	return nil
}

// SetWriteDeadline is http.ResponseController's.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.st.setDeadline(&w.st.writeDeadline, t)
	return nil
}

// EnableFullDuplex is http.ResponseController's: it is so anyway.
func (w *response) EnableFullDuplex() error { return nil }

// flushBuffered puts what is held back, if there is something.
func (w *response) flushBuffered() error {
	if len(w.buf) == 0 {
		return nil // the headers wait for what their content-type is made of
	}
	return w.flushBuffer()
}

// flushBuffer puts the headers, if that has not been done, and what is held back.
func (w *response) flushBuffer() error {
	p := w.buf
	w.buf = w.buf[:0]
	return w.put(p)
}

// put puts the headers, if that has not been done, and a piece of the body.
func (w *response) put(p []byte) error {
	bodiless := w.r.Method == http.MethodHead
	if !w.sent {
		w.sent = true
		if err := w.sendHead(p, bodiless); err != nil {
			return err
		}
	}
	if bodiless || len(p) == 0 {
		return nil
	}
	return w.st.send(p)
}

// sendHead puts the headers; p is what is known of the body.
func (w *response) sendHead(p []byte, end bool) error {
	h := w.head
	if w.length < 0 && w.done && bodyAllowed(w.status) && (w.written > 0 || w.r.Method != http.MethodHead) {
		h["Content-Length"] = []string{strconv.FormatInt(w.written, 10)}
	}
	_, typed := h["Content-Type"]
	if !typed && h.Get("Content-Encoding") == "" && bodyAllowed(w.status) && len(p) > 0 {
		h["Content-Type"] = []string{http.DetectContentType(p)}
	}
	if _, dated := h["Date"]; !dated {
		h["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	}
	return w.st.sendHead(w.fields(w.status, h), end)
}

// finish ends the response after the handler has returned.
func (w *response) finish() {
	w.done = true
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.err != nil {
		return
	}
	trailer, bodiless := w.trailer(), w.r.Method == http.MethodHead
	if !w.sent {
		w.sent = true
		end := bodiless || len(w.buf) == 0 && len(trailer) == 0
		if w.err = w.sendHead(w.buf, end); end {
			return
		}
	}
	if w.err == nil && !bodiless {
		w.err = w.st.sendLast(w.buf, trailer)
	}
}

// trailer returns the trailers, those that were announced and those with http.TrailerPrefix.
func (w *response) trailer() []field {
	var fields []field
	for key, values := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			if httpguts.ValidTrailerHeader(canonical(name)) {
				fields = appendFields(fields, name, values)
			}
		} else if slices.Contains(w.trailers, key) {
			fields = appendFields(fields, key, values)
		}
	}
	return fields
}

// fields returns headers as they are sent.
func (w *response) fields(status int, h http.Header) []field {
	fields := make([]field, 1, 1+len(h))
	fields[0] = field{Name: ":status", Value: strconv.Itoa(status)}
	for key, values := range h {
		switch key {
		case "Connection", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Keep-Alive":
			continue
		}
		if !strings.HasPrefix(key, http.TrailerPrefix) {
			fields = appendFields(fields, key, values)
		}
	}
	return fields
}

// appendFields appends one header, without values that HTTP does not have.
func appendFields(fields []field, key string, values []string) []field {
	name := strings.ToLower(key)
	if !httpguts.ValidHeaderFieldName(name) {
		return fields
	}
	for _, v := range values {
		if httpguts.ValidHeaderFieldValue(v) {
			fields = append(fields, field{Name: name, Value: v})
		}
	}
	return fields
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
