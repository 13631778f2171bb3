package bridge

import (
	"iter"
	"net/textproto"
	"strings"

	"connectrpc.com/connect/v2"
)

// dropped are the headers that are about one connection (RFC 9110, 7.6.1), about how one message is
// encoded, or about the server that is called. Keys are canonical, as those of a connect.Header are.
var dropped = map[string]bool{
	"Accept":              true,
	"Accept-Encoding":     true,
	"Accept-Post":         true,
	"Connection":          true,
	"Date":                true,
	"Expect":              true,
	"Host":                true,
	"Keep-Alive":          true,
	"Proxy-Authenticate":  true,
	"Proxy-Authorization": true,
	"Proxy-Connection":    true,
	"Te":                  true,
	"Trailer":             true,
	"Transfer-Encoding":   true,
	"Upgrade":             true,
}

// droppedPrefixes belong to the messages of HTTP, the protocols and browsers: all that begins so is theirs.
var droppedPrefixes = [...]string{"Content-", "Connect-", "Grpc-", "Trailer-", "Access-Control-"}

// Forwarded reports whether a header or trailer, by its canonical key, is the user's and goes along with
// a call. All are but for those of the connection, of the message's encoding and of the protocols.
// User-Agent goes along: it says who calls, which is not the one who passes the call on.
func Forwarded(key string) bool {
	if dropped[key] || key == "" || key[0] == ':' {
		return false
	}
	for _, prefix := range droppedPrefixes {
		if strings.HasPrefix(key, prefix) {
			return false
		}
	}
	return true
}

// User yields the headers that are the user's.
func User(h *connect.Header) iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		if h.Len() == 0 {
			return
		}
		hop := h.Values("Connection")
		for key, values := range h.All() {
			if len(values) > 0 && Forwarded(key) && !named(hop, key) && !yield(key, values) {
				return
			}
		}
	}
}

// copyHeaders sets to what is the user's of from, but for what skip drops; skip may be nil.
func copyHeaders(to, from *connect.Header, skip func(key string) bool) {
	for key, values := range User(from) {
		if skip == nil || !skip(key) {
			to.SetValues(key, values)
		}
	}
}

// named reports whether key is among the headers that Connection, of these values, names.
func named(connection []string, key string) bool {
	for _, value := range connection {
		for option := range strings.SplitSeq(value, ",") {
			if textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(option)) == key {
				return true
			}
		}
	}
	return false
}
