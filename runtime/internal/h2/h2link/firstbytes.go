package h2link

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
)

// Stage is how far the call of a client has come.
type Stage int32

// The stages of a call, in order.
const (
	RequestSent      Stage = iota // the request has been written, or is being
	SettingsReceived              // the peer speaks HTTP/2
	ResponseReceived              // the response's headers have come, and are those of a call
)

// Stage returns how far the call has come. It is for clients.
func (c *Conn) Stage() Stage { return Stage(c.stage.Load()) }

const (
	maxFirstBytes = 1 << 10
	// firstBytesTimeout is how long a peer that does not speak HTTP/2 may take to send maxFirstBytes.
	firstBytesTimeout = 250 * time.Millisecond
)

// NotHTTP2Error is the cause of an error of a client whose peer began otherwise than HTTP/2 does.
type NotHTTP2Error struct {
	Received []byte // the beginning of it, 1 KiB at most
}

func (e *NotHTTP2Error) Error() string {
	if e.HTTP1() {
		return "the peer speaks HTTP/1, not HTTP/2"
	}
	return fmt.Sprintf("the peer does not speak HTTP/2: it began with %.40q", e.Received)
}

// HTTP1 reports whether it was an answer of HTTP/1.
func (e *NotHTTP2Error) HTTP1() bool { return bytes.HasPrefix(e.Received, []byte("HTTP/")) }

// TLS reports whether it was a record of TLS, or the answer of an HTTP/1 server that waits for TLS.
func (e *NotHTTP2Error) TLS() bool {
	if len(e.Received) > 1 && (e.Received[0] == 21 || e.Received[0] == 22) && e.Received[1] == 3 { // RFC 8446 section 5.1
		return true
	}
	// These are the texts of Go, nginx and Apache.
	return e.HTTP1() && (bytes.Contains(e.Received, []byte("HTTPS")) || bytes.Contains(e.Received, []byte("SSL-enabled")))
}

// ResponseError is the cause of an error of a client whose request was answered otherwise than a call is.
type ResponseError struct {
	Status      int
	ContentType string
	Location    string // of a redirect
	Server      string // as it names itself
}

func (e *ResponseError) Error() string {
	if e.Status == 200 {
		return fmt.Sprintf("the server answered with content type %q, not %q", e.ContentType, contentType)
	}
	return fmt.Sprintf("the server answered with HTTP status %d", e.Status)
}

// GoAwayError is the cause of an error of a client whose peer takes no call.
type GoAwayError struct {
	Code  http2.ErrCode
	Debug string // its additional debug data, 200 bytes at most
}

func (e *GoAwayError) Error() string {
	if e.Debug == "" {
		return fmt.Sprintf("GOAWAY %s", e.Code)
	}
	return fmt.Sprintf("GOAWAY %s %q", e.Code, e.Debug)
}

// checkFirstBytes reads how the peer begins, and returns an error if that is the beginning of no HTTP/2: of a frame of
// a megabyte or more, which the first one never is. Text, TLS and most other protocols are that.
func (c *Conn) checkFirstBytes() error {
	in := &c.reading.in
	if err := in.Wait(1); err != nil {
		return err
	}
	if in.Buffered()[0] < maxFrame>>16 {
		return nil
	}
	if c.setReadDeadline(time.Now().Add(firstBytesTimeout)) == nil { // else the Conn is being closed
		_ = in.Wait(maxFirstBytes) // or what there is
	}
	said := in.Buffered()
	err := &NotHTTP2Error{Received: bytes.Clone(said[:min(len(said), maxFirstBytes)])}
	return connect.NewError(connect.CodeUnavailable, err.Error()).WithCause(err)
}

// openError returns what the peer has sent as an error, where that is why a client's request could not be written.
func (c *Conn) openError(err error) error {
	if _, told := c.Receive(); told != nil && !errors.Is(told, errClosed) {
		return told
	}
	return err
}
