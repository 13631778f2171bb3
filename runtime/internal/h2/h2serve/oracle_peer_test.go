package h2serve_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is a client, frame by frame.
type peer struct {
	testing.TB
	*http2.Framer
	nc net.Conn

	notef        func(who, format string, args ...any)
	ended        map[uint32]bool
	reset        map[uint32]bool
	data         map[uint32]*bytes.Buffer // not yet noted
	gone         bool
	heads, bytes int  // that have come
	strict       bool // RST_STREAM NO_ERROR is noted
	acks         int  // of pings
}

var get = []string{":method", "GET", ":scheme", "http", ":authority", "node.test", ":path", "/"}

func (w *world) dialPeer() *peer {
	p := newPeer(w, w.dial())
	p.notef = w.notef
	return p
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	p := &peer{
		TB: t, Framer: http2.NewFramer(nc, nc), nc: nc, notef: func(string, string, ...any) {},
		ended: make(map[uint32]bool), reset: make(map[uint32]bool), data: make(map[uint32]*bytes.Buffer),
	}
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = nc.SetDeadline(time.Now().Add(patience))
	return p
}

// do fails the test if one of the writes failed.
func (p *peer) do(errs ...error) {
	p.Helper()
	if err := errors.Join(errs...); err != nil {
		p.Error(err)
	}
}

func (p *peer) preface(settings ...http2.Setting) {
	p.Helper()
	_, err := io.WriteString(p.nc, http2.ClientPreface)
	p.do(err, p.WriteSettings(settings...), p.WriteSettingsAck())
}

// head writes HEADERS of name and value pairs.
func (p *peer) head(stream uint32, end bool, pairs ...string) {
	p.Helper()
	p.do(p.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: encode(pairs...), EndStream: end, EndHeaders: true,
	}))
}

func encode(pairs ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return b.Bytes()
}

// next reads a frame, and reports whether there was one.
func (p *peer) next() (http2.Frame, bool) {
	f, err := p.ReadFrame()
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.Error("waited too long for a frame")
		p.gone = true
	case errors.As(err, new(http2.StreamError)), errors.As(err, new(http2.ConnectionError)):
		p.Errorf("the server broke a rule: %v, %v", err, p.ErrorDetail())
		p.gone = true
	default:
		p.gone = true
	}
	return f, err == nil
}

// take reads a frame and notes it.
func (p *peer) take() {
	f, ok := p.next()
	if !ok {
		p.flushNotes()
		p.notef("connection", "closed")
		return
	}
	id := f.Header().StreamID
	who := fmt.Sprint("stream ", id)
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		p.flushNotes()
		p.notef(who, "HEADERS %s", pairs(f))
		p.heads++
		p.end(id, f.StreamEnded())
	case *http2.DataFrame:
		if p.data[id] == nil {
			p.data[id] = new(bytes.Buffer)
		}
		p.data[id].Write(f.Data())
		p.bytes += len(f.Data())
		p.end(id, f.StreamEnded())
	case *http2.RSTStreamFrame:
		p.flushNotes()
		// What comes after a reset may be answered by another, and what after the end depends on what has
		// been seen of the request.
		if !p.reset[id] && (f.ErrCode != http2.ErrCodeNo || !p.ended[id] || p.strict) {
			p.notef(who, "RST_STREAM %s", f.ErrCode)
		}
		p.ended[id], p.reset[id] = true, true
	case *http2.GoAwayFrame:
		p.flushNotes()
		p.notef("connection", "GOAWAY %s", f.ErrCode)
		p.gone = f.ErrCode != http2.ErrCodeNo
	case *http2.PingFrame:
		p.acks++
	}
}

func (p *peer) end(id uint32, ended bool) {
	if ended {
		p.flushNotes()
		p.notef(fmt.Sprint("stream ", id), "END")
		p.ended[id] = true
	}
}

func (p *peer) flushNotes() {
	for id, b := range p.data {
		if b.Len() > 0 {
			p.notef(fmt.Sprint("stream ", id), "DATA %s", digest(b.Bytes()))
		}
		delete(p.data, id)
	}
}

func pairs(f *http2.MetaHeadersFrame) string {
	var s []string
	for _, field := range f.Fields {
		if field.Name != "date" {
			s = append(s, fmt.Sprintf("%s: %s", field.Name, field.Value))
		}
	}
	slices.Sort(s) // the order is a map's
	return strings.Join(s, ", ")
}

// finish notes what comes until the streams have ended, then whether the connection goes on.
func (p *peer) finish(streams ...uint32) {
	p.Helper()
	for _, id := range streams {
		for !p.gone && !p.ended[id] {
			p.take()
		}
	}
	p.sync()
	p.flushNotes()
	p.notef("connection", "gone: %t", p.gone)
}

// sync notes what comes until the server has taken all that was sent.
func (p *peer) sync() {
	if !p.gone {
		_ = p.WritePing(false, [8]byte{1}) // may fail where the server has closed
		for acks := p.acks; !p.gone && p.acks == acks; {
			p.take()
		}
	}
}
