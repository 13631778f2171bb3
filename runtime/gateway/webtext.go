package gateway

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
)

// gRPC-Web's text format is its binary one in base64, for browsers that cannot read bytes as they come
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md).
const (
	webTextType   = "application/grpc-web-text"
	webBinaryType = "application/grpc-web"
)

// webText lets next serve calls in gRPC-Web's text format as calls in its binary format.
func webText(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		contentType, ok := replaceMediaType(r.Header.Get("Content-Type"), webTextType, webBinaryType)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		r = r.Clone(r.Context())
		r.Header.Set("Content-Type", contentType)
		r.Header.Del("Content-Length")
		r.ContentLength = -1
		r.Body = textBody{&textReader{src: bufio.NewReader(r.Body)}, r.Body}
		text := &textWriter{ResponseWriter: w}
		next.ServeHTTP(text, r)
		_ = text.end() // fails where the caller has gone
	})
}

// replaceMediaType replaces one media type in contentType by another, keeping codec and parameters. It reports false
// where contentType is not of that type.
func replaceMediaType(contentType, from, to string) (string, bool) {
	if len(contentType) < len(from) || !strings.EqualFold(contentType[:len(from)], from) {
		return contentType, false
	}
	rest := contentType[len(from):]
	if rest != "" && !strings.ContainsAny(rest[:1], "+; \t") {
		return contentType, false
	}
	return to + rest, true
}

// textBody is a request's body, decoded.
type textBody struct {
	io.Reader
	io.Closer
}

// textReader decodes base64 that may be padded anywhere: some clients encode each message by itself.
type textReader struct {
	src   *bufio.Reader
	bytes []byte // decoded and not yet read
	buf   [3 << 10]byte
}

func (t *textReader) Read(p []byte) (int, error) {
	for len(t.bytes) == 0 {
		if err := t.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.bytes)
	t.bytes = t.bytes[n:]
	return n, nil
}

// fill decodes what has arrived, up to the next padding.
func (t *textReader) fill() error {
	const quantum = 4
	text, err := t.src.Peek(quantum)
	if len(text) == 0 {
		return err
	}
	if len(text) < quantum {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	text, _ = t.src.Peek(min(t.src.Buffered(), base64.StdEncoding.EncodedLen(len(t.buf)))) // no error: it is buffered
	text = text[:len(text)/quantum*quantum]
	if i := bytes.IndexByte(text, '='); i >= 0 {
		text = text[:i/quantum*quantum+quantum]
	}
	n, err := base64.StdEncoding.Decode(t.buf[:], text)
	if err != nil {
		return err
	}
	t.bytes = t.buf[:n]
	_, err = t.src.Discard(len(text))
	return err
}

// textWriter encodes a response in base64. Each flush ends a padded chunk.
type textWriter struct {
	http.ResponseWriter
	wroteHeader bool
	rest        []byte // fewer than three bytes
	buf         []byte
}

// Unwrap is for [http.ResponseController].
func (t *textWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (t *textWriter) WriteHeader(status int) {
	t.wroteHeader = true
	h := t.Header()
	if contentType, ok := replaceMediaType(h.Get("Content-Type"), webBinaryType, webTextType); ok {
		h.Set("Content-Type", contentType)
		h.Del("Content-Length")
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (t *textWriter) Write(p []byte) (int, error) {
	if !t.wroteHeader {
		t.WriteHeader(http.StatusOK)
	}
	const quantum = 3
	t.rest = append(t.rest, p...)
	whole := len(t.rest) / quantum * quantum
	err := t.encode(t.rest[:whole])
	t.rest = append(t.rest[:0], t.rest[whole:]...)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (t *textWriter) encode(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	t.buf = base64.StdEncoding.AppendEncode(t.buf[:0], b)
	_, err := t.ResponseWriter.Write(t.buf)
	return err
}

// FlushError is for [http.ResponseController].
func (t *textWriter) FlushError() error {
	if !t.wroteHeader {
		t.WriteHeader(http.StatusOK)
	}
	if err := t.end(); err != nil {
		return err
	}
	return http.NewResponseController(t.ResponseWriter).Flush()
}

// Flush implements [http.Flusher].
func (t *textWriter) Flush() { _ = t.FlushError() } // fails where the caller has gone

// end writes what is left over.
func (t *textWriter) end() error {
	err := t.encode(t.rest)
	t.rest = t.rest[:0]
	return err
}
