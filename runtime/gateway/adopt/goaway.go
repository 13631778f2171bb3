package adopt

import (
	"errors"
	"strings"

	"golang.org/x/net/http2"
)

// goaway finds frames of type GOAWAY (RFC 9113, section 6.8) in the bytes that a server sends, in whatever
// pieces they come: HTTP's client acts on them, but tells nobody.
type goaway struct {
	head [9]byte // of a frame
	has  int     // so many bytes of it
	skip int     // bytes of the frame's payload that are to come
}

// scan reads the next bytes and reports whether a GOAWAY is among them.
func (g *goaway) scan(b []byte) (found bool) {
	for len(b) > 0 {
		if g.skip > 0 {
			n := min(g.skip, len(b))
			g.skip -= n
			b = b[n:]
			continue
		}
		n := copy(g.head[g.has:], b)
		g.has += n
		b = b[n:]
		if g.has == len(g.head) {
			g.has = 0
			g.skip = int(g.head[0])<<16 | int(g.head[1])<<8 | int(g.head[2])
			found = found || http2.FrameType(g.head[3]) == http2.FrameGoAway
		}
	}
	return found
}

// connGoneError is the error of a request whose connection went away, or that was refused on it.
type connGoneError struct{ cause error }

func (e *connGoneError) Error() string { return e.cause.Error() }
func (e *connGoneError) Unwrap() error { return e.cause }

// isUnprocessed reports whether err says that the server has not begun with a request: it has reset the stream as
// refused (RFC 9113, section 8.7), or the connection went away before it came to it. HTTP's client has types for
// some of these errors and only texts for others.
func isUnprocessed(err error) bool {
	if e, ok := errors.AsType[http2.StreamError](err); ok {
		return e.Code == http2.ErrCodeRefusedStream
	}
	text := err.Error()
	for _, sign := range []string{
		"http2: Transport received Server's graceful shutdown GOAWAY",
		"http2: Transport received GOAWAY from server",
		"http2: client conn not usable",
		"http2: no cached connection was available",
		"net/http: cannot rewind body after connection loss",
	} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return strings.Contains(text, "cannot retry err [stream error: ") && strings.Contains(text, "REFUSED_STREAM")
}
