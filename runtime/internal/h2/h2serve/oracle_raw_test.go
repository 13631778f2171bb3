package h2serve_test

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// without returns get without a pseudo header.
func without(name string) []string {
	h := slices.Clone(get)
	i := slices.Index(h, name)
	return slices.Delete(h, i, i+2)
}

// having returns get with another value of a pseudo header.
func having(name, value string) []string {
	h := slices.Clone(get)
	h[slices.Index(h, name)+1] = value
	return h
}

func more(pairs ...string) []string { return append(slices.Clone(get), pairs...) }

// TestHeads has heads that net/http's client would not send.
func TestHeads(t *testing.T) {
	heads := map[string][]string{
		"plain":                       get,
		"upper case name":             more("X-Upper", "1"),
		"name with a space":           more("x space", "1"),
		"name with a colon":           more("x:colon", "1"),
		"name with a control":         more("x\x01", "1"),
		"name of utf8":                more("é", "1"),
		"no name":                     more("", "1"),
		"value with a newline":        more("x-value", "a\nb"),
		"value with a return":         more("x-value", "a\rb"),
		"value with a zero":           more("x-value", "a\x00b"),
		"value with a delete":         more("x-value", "a\x7fb"),
		"value with a tab":            more("x-value", "a\tb"),
		"value of high bytes":         more("x-value", "\xff\xfe"),
		"value with spaces around":    more("x-value", " a "),
		"empty value":                 more("x-value", ""),
		"connection":                  more("connection", "close"),
		"keep-alive":                  more("keep-alive", "1"),
		"proxy-connection":            more("proxy-connection", "close"),
		"transfer-encoding":           more("transfer-encoding", "chunked"),
		"upgrade":                     more("upgrade", "h2c"),
		"te trailers":                 more("te", "trailers"),
		"te other":                    more("te", "gzip"),
		"te both":                     more("te", "trailers, deflate"),
		"te twice":                    more("te", "trailers", "te", "trailers"),
		"te empty":                    more("te", ""),
		"no method":                   without(":method"),
		"no scheme":                   without(":scheme"),
		"no path":                     without(":path"),
		"no authority":                without(":authority"),
		"host instead":                append(without(":authority"), "host", "host.test"),
		"host beside":                 more("host", "host.test"),
		"host the same":               more("host", "node.test"),
		"two hosts":                   append(without(":authority"), "host", "a.test", "host", "b.test"),
		"empty method":                having(":method", ""),
		"method with a space":         having(":method", "GE T"),
		"empty scheme":                having(":scheme", ""),
		"scheme https":                having(":scheme", "https"),
		"odd scheme":                  having(":scheme", "ftp"),
		"upper case scheme":           having(":scheme", "HTTP"),
		"empty path":                  having(":path", ""),
		"relative path":               having(":path", "a/b"),
		"star":                        having(":path", "*"),
		"star of options":             append([]string{":method", "OPTIONS"}, having(":path", "*")[2:]...),
		"absolute path":               having(":path", "http://other.test/a"),
		"path with a space":           having(":path", "/a b"),
		"path with a fragment":        having(":path", "/a#b"),
		"path with a bad escape":      having(":path", "/%zz"),
		"path with a control":         having(":path", "/\x01"),
		"path of utf8":                having(":path", "/é"),
		"path with query":             having(":path", "/a?b=c?d"),
		"empty authority":             having(":authority", ""),
		"authority with a user":       having(":authority", "me@node.test"),
		"authority with a space":      having(":authority", "a b"),
		"authority with a port":       having(":authority", "node.test:81"),
		"method twice":                append([]string{":method", "GET"}, get...),
		"path twice":                  append([]string{":path", "/a"}, get...),
		"unknown pseudo":              append([]string{":odd", "1"}, get...),
		"status":                      append([]string{":status", "200"}, get...),
		"protocol":                    append([]string{":protocol", "websocket"}, get...),
		"pseudo after others":         append(append([]string{"x", "y"}, get...), "z", "1"),
		"pseudo last":                 append(without(":path"), "x", "y", ":path", "/"),
		"connect":                     {":method", "CONNECT", ":authority", "node.test:1"},
		"connect with a path":         having(":method", "CONNECT"),
		"connect of protocol":         {":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "node.test"},
		"connect without an address":  {":method", "CONNECT"},
		"crumbs":                      more("cookie", "a=1", "cookie", "b=2", "x", "y", "cookie", "c=3; d=4"),
		"empty crumb":                 more("cookie", "a=1", "cookie", "", "cookie", "b=2"),
		"many values":                 more("x", "1", "y", "2", "x", "3"),
		"length":                      more("content-length", "5"),
		"length of nothing":           more("content-length", "0"),
		"length twice":                more("content-length", "5", "content-length", "5"),
		"two lengths":                 more("content-length", "5", "content-length", "6"),
		"length, then nothing":        more("content-length", "5", "content-length", "0"),
		"odd length":                  more("content-length", "five"),
		"signed length":               more("content-length", "+5"),
		"negative length":             more("content-length", "-5"),
		"empty length":                more("content-length", ""),
		"length in a list":            more("content-length", "5, 5"),
		"huge length":                 more("content-length", "99999999999999999999"),
		"trailer announced":           more("trailer", "x-end, X-Other", "trailer", "x-third"),
		"trailer forbidden":           more("trailer", "content-length, transfer-encoding, trailer, x-end"),
		"expect":                      more("expect", "100-continue"),
		"expect other":                more("expect", "tea"),
		"expect upper case":           more("expect", "100-Continue"),
		"expect twice":                more("expect", "100-continue", "expect", "100-continue"),
		"pseudo in canonical headers": more(":x", "1"),
		"grpc": {
			":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "node.test", "te", "trailers",
			"content-type", "application/grpc", "grpc-timeout", "1S", "user-agent", "grpc",
		},
	}
	scenarios := make(map[string]scenario)
	for name, h := range heads {
		scenarios[name] = scenario{serve: describeAll, client: func(w *world) {
			p := w.dialPeer()
			p.preface()
			p.head(1, true, h...)
			p.finish(1)
		}}
		scenarios[name+", with a body"] = scenario{serve: describeAll, client: func(w *world) {
			p := w.dialPeer()
			p.preface()
			p.head(1, false, h...)
			p.sync()
			if !p.gone && !p.ended[1] {
				p.do(p.WriteData(1, false, []byte("hel")), p.WriteData(1, true, []byte("lo")))
			}
			p.finish(1)
		}}
		scenarios[name+", as trailers"] = scenario{serve: describeAll, client: func(w *world) {
			p := w.dialPeer()
			p.preface()
			p.head(1, false, more("trailer", "x, x-end, te")...)
			p.do(p.WriteData(1, false, []byte("hello")))
			p.head(1, true, h[min(len(h), len(get)):]...)
			p.finish(1)
		}}
	}
	differ(t, scenarios)
}

// TestExchanges has requests that come, end and break as net/http's client would not have it.
func TestExchanges(t *testing.T) {
	exchanges := map[string]func(p *peer) uint32{
		"length, less sent": func(p *peer) uint32 {
			p.head(1, false, more("content-length", "10")...)
			p.do(p.WriteData(1, true, []byte("hello")))
			return 1
		},
		"length, more sent": func(p *peer) uint32 {
			p.head(1, false, more("content-length", "3")...)
			p.do(p.WriteData(1, true, []byte("hello")))
			return 1
		},
		"length, more sent later": func(p *peer) uint32 {
			p.head(1, false, more("content-length", "3")...)
			p.do(p.WriteData(1, false, []byte("hel")), p.WriteData(1, true, []byte("lo")))
			return 1
		},
		"length, none sent": func(p *peer) uint32 {
			p.head(1, false, more("content-length", "3")...)
			p.do(p.WriteData(1, true, nil))
			return 1
		},
		"length, less sent, then trailers": func(p *peer) uint32 {
			p.head(1, false, more("content-length", "10")...)
			p.do(p.WriteData(1, false, []byte("hello")))
			p.head(1, true, "x-end", "1")
			return 1
		},
		"length of nothing, no end yet": func(p *peer) uint32 {
			p.head(1, false, more("content-length", "0")...)
			p.do(p.WriteData(1, true, nil))
			return 1
		},
		"trailers": func(p *peer) uint32 {
			p.head(1, false, more("trailer", "x-end")...)
			p.do(p.WriteData(1, false, []byte("hello")))
			p.head(1, true, "x-end", "1", "x-unannounced", "2")
			return 1
		},
		"trailers at once": func(p *peer) uint32 {
			p.head(1, false, more("trailer", "x-end")...)
			p.head(1, true, "x-end", "1")
			return 1
		},
		"empty trailers": func(p *peer) uint32 {
			p.head(1, false, get...)
			p.head(1, true)
			return 1
		},
		"trailers without an end": func(p *peer) uint32 {
			p.head(1, false, get...)
			p.head(1, false, "x-end", "1")
			return 1
		},
		"trailers with a pseudo header": func(p *peer) uint32 {
			p.head(1, false, get...)
			p.head(1, true, ":path", "/")
			return 1
		},
		"trailers of upper case": func(p *peer) uint32 {
			p.head(1, false, get...)
			p.head(1, true, "X-End", "1")
			return 1
		},
		"empty DATA, then some": func(p *peer) uint32 {
			p.head(1, false, get...)
			p.do(p.WriteData(1, false, nil), p.WriteData(1, false, []byte("x")), p.WriteData(1, true, nil))
			return 1
		},
		"padded": func(p *peer) uint32 {
			p.do(p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: encode(get...), EndHeaders: true, PadLength: 200,
				Priority: http2.PriorityParam{StreamDep: 3, Weight: 1, Exclusive: true},
			}))
			p.do(p.WriteDataPadded(1, false, []byte("hello"), make([]byte, 255)), p.WriteDataPadded(1, true, nil, make([]byte, 3)))
			return 1
		},
		"padded, with a length": func(p *peer) uint32 {
			p.head(1, false, more("content-length", "5")...)
			p.do(p.WriteDataPadded(1, true, []byte("hello"), make([]byte, 255)))
			return 1
		},
		"in many CONTINUATIONs": func(p *peer) uint32 {
			b := encode(more("x", strings.Repeat("y", 100))...)
			p.do(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:1], EndStream: true}))
			for len(b) > 30 {
				p.do(p.WriteContinuation(1, false, b[1:20]))
				b = b[19:]
			}
			p.do(p.WriteContinuation(1, true, b[1:]))
			return 1
		},
		"depends on itself": func(p *peer) uint32 {
			p.do(p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: encode(get...), EndHeaders: true, EndStream: true, Priority: http2.PriorityParam{StreamDep: 1},
			}))
			return 1
		},
		"one reads while another waits for the window": func(p *peer) uint32 {
			p.do(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			for id := uint32(1); id < 100; id += 2 {
				p.head(id, false, having(":path", "/both")...)
				for before := p.heads; !p.gone && p.heads == before; {
					p.take()
				}
				p.do(p.WriteData(id, false, []byte("x")))
				p.sync() // one waits for the body soon, and another for the window
				p.do(p.WriteWindowUpdate(id, 5))
				for before := p.bytes; !p.gone && p.bytes < before+5; {
					p.take()
				}
				p.do(p.WriteData(id, true, nil))
				p.finish(id)
			}
			return 99
		},
		"answered before its end": func(p *peer) uint32 {
			p.strict = true
			p.head(1, false, having(":path", "/early")...)
			for !p.gone && !p.reset[1] {
				p.take()
			}
			p.do(p.WriteData(1, false, []byte("hello")), p.WriteData(1, true, []byte("hello")))
			p.sync()
			p.head(3, true, get...)
			return 3
		},
		"reset with an odd code": func(p *peer) uint32 {
			p.head(1, false, get...)
			p.do(p.WriteRSTStream(1, 0xabcd))
			p.head(3, true, get...)
			return 3
		},
		"headers of more than is allowed": func(p *peer) uint32 {
			var b bytes.Buffer
			e := hpack.NewEncoder(&b)
			for i := 0; i < len(get); i += 2 {
				_ = e.WriteField(hpack.HeaderField{Name: get[i], Value: get[i+1]})
			}
			for range 15_000 {
				_ = e.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 3000)})
			}
			p.do(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b.Bytes()[:16000], EndStream: true}))
			p.do(p.WriteContinuation(1, true, b.Bytes()[16000:]))
			return 1
		},
		"unknown frames between": func(p *peer) uint32 {
			p.head(1, false, get...)
			p.do(p.WriteRawFrame(0xee, 0xff, 1, []byte("what")), p.WriteRawFrame(0xee, 0xff, 0, nil), p.WriteData(1, true, []byte("hello")))
			return 1
		},
		"unknown settings": func(p *peer) uint32 {
			p.do(p.WriteSettings(http2.Setting{ID: 0x99, Val: 1}, http2.Setting{ID: http2.SettingMaxConcurrentStreams}))
			p.head(1, true, get...)
			return 1
		},
		"push allowed": func(p *peer) uint32 {
			p.do(p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 1}))
			p.head(1, true, get...)
			return 1
		},
		"no header table": func(p *peer) uint32 {
			p.do(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}))
			p.head(1, true, get...)
			p.finish(1)
			p.head(3, true, get...)
			return 3
		},
		"large header table": func(p *peer) uint32 {
			p.do(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1 << 20}))
			p.head(1, true, get...)
			p.finish(1)
			p.head(3, true, get...)
			return 3
		},
		"first stream is 7": func(p *peer) uint32 {
			p.head(7, true, get...)
			return 7
		},
		"no window at first": func(p *peer) uint32 {
			p.do(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			p.head(1, true, get...)
			p.sync()
			p.do(p.WriteWindowUpdate(1, 1), p.WriteWindowUpdate(1, 100))
			return 1
		},
	}
	scenarios := make(map[string]scenario)
	for name, exchange := range exchanges {
		scenarios[name] = scenario{
			client: func(w *world) {
				p := w.dialPeer()
				p.preface()
				p.finish(exchange(p))
			},
			serve: func(w *world, rw http.ResponseWriter, r *http.Request) {
				if name == "reset with an odd code" { // when the first request is seen is up to chance
					if r.ContentLength < 0 {
						w.ended(r.Context())
					}
					return
				}
				if r.URL.Path == "/early" {
					_, _ = io.WriteString(rw, "early")
					return
				}
				if r.URL.Path == "/both" {
					_ = http.NewResponseController(rw).Flush()
					begun, ended := make(chan struct{}), make(chan struct{})
					go func() {
						defer close(ended)
						_, _ = r.Body.Read(make([]byte, 1))
						close(begun)
						_, _ = io.Copy(io.Discard, r.Body)
					}()
					<-begun
					_, _ = io.WriteString(rw, "hello")
					_ = http.NewResponseController(rw).Flush()
					<-ended
					return
				}
				b, err := io.ReadAll(r.Body)
				w.notef("handler", "length %d, body %s", r.ContentLength, whole(b, err))
				w.notef("handler", "trailer %q", map[string][]string(r.Trailer))
				_, _ = io.WriteString(rw, "done")
			},
		}
	}
	differ(t, scenarios)
}
