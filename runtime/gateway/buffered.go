package gateway

import (
	"errors"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/grpc"
	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// Most calls of services are unary, short and of gRPC, and each would take a goroutine for its request, one for
// its way through the mesh and several of net/http's. So where a node serves the gateway itself, such a
// call goes from the reader of its connection to that of a link, or to the handler's goroutine, and back.
// Whatever is out of the ordinary about a call is left to ServeHTTP, errors of the gateway's above all.

// bufferedHandlers is a gateway as seen by its node's server.
type bufferedHandlers struct{ *Gateway }

var _ h2serve.BufferedHandlers = bufferedHandlers{}

// NewBufferedHandler implements [h2serve.BufferedHandlers].
func (b bufferedHandlers) NewBufferedHandler() h2serve.BufferedHandler {
	return &bufferedHandler{g: b.Gateway, caller: rawcall.NewCaller(), headerKeys: map[string]string{}}
}

// bufferedHandler handles the calls of one connection.
type bufferedHandler struct {
	g           *Gateway
	caller      rawcall.Caller
	headerKeys  map[string]string // the canonical forms of header names; empty: the header is dropped
	anonymous   client            // the client of calls without a token
	addr        string
	lastOutside *rawcall.Outside // of the last call
}

// maxHeaderKeys bounds bufferedHandler.headerKeys.
const maxHeaderKeys = 128

// bufferedCall is one call.
type bufferedCall struct {
	rawcall.Call

	g       *Gateway
	request *h2serve.Request
	ns      *rpcmesh.Namespace
	token   string
	client  client
}

// Wants implements [h2serve.BufferedHandler].
func (h *bufferedHandler) Wants(r *h2serve.Request) bool {
	if r.Method != http.MethodPost || h.g.cfg.Authorize != nil && h.g.cfg.Tokens == nil {
		return false
	}
	t, ok := parsePath(r.Path)
	if !ok || strings.ContainsAny(r.Path, "?%") {
		return false
	}
	c := &bufferedCall{g: h.g, request: r}
	if !c.parseHead(&t) {
		return false
	}
	if t.namespace == "" {
		t.namespace = h.g.cfg.Namespace
	}
	ns, ok := h.g.namespace(t.namespace)
	if !ok || strings.HasPrefix(t.procedure, builtinPrefix) || !h.authorize(c, t) {
		return false
	}
	f, ok := ns.Find(t.procedure)
	if !ok || f.StreamType != connect.StreamTypeUnary {
		return false
	}
	c.ns = ns
	c.Procedure = f.Procedure
	c.Idempotency = f.Idempotency
	r.Data = c
	return true
}

// parseHead reads the request's headers, and reports whether they are ordinary.
func (c *bufferedCall) parseHead(t *target) bool {
	proto, authorized := false, false
	for _, f := range c.request.Fields {
		switch f.Name {
		case "content-type":
			proto = grpc.IsProto(f.Value)
		case "grpc-encoding":
			if f.Value != connect.CompressionNameIdentity {
				return false
			}
		case "grpc-timeout":
			timeout, ok := grpc.Timeout(f.Value)
			if !ok || timeout == 0 || !c.Deadline.IsZero() {
				return false
			}
			c.Deadline = time.Now().Add(timeout)
		case "rpcmesh-namespace":
			if t.namespace != "" {
				return false
			}
			t.namespace = f.Value
		case "authorization":
			var err error
			c.token, err = bearerOf(f.Value)
			if err != nil || authorized {
				return false
			}
			authorized = true
		case "origin", "connection":
			return false
		}
	}
	return proto
}

// authorize reports whether a call is admitted, and records its client.
func (h *bufferedHandler) authorize(c *bufferedCall, t target) bool {
	if h.addr == "" {
		h.addr = c.request.RemoteAddr().String()
		h.anonymous = clientByAddress(h.addr)
	}
	if h.g.cfg.Open {
		c.client, c.Outside = h.anonymous, h.outside("")
		return true
	}
	token, err := h.g.cfg.Tokens.authorize(Caller{Token: c.token, Namespace: t.namespace, Procedure: t.procedure})
	if err != nil {
		return false
	}
	c.client, c.Outside = clientByToken(token.hash), h.outside(token.Name)
	return true
}

// outside is [Gateway.outside] for a connection, most of whose calls use one token.
func (h *bufferedHandler) outside(token string) *rawcall.Outside {
	if h.lastOutside == nil || h.lastOutside.Token != token {
		from := h.g.outside(token, h.addr)
		h.lastOutside = &from
	}
	return h.lastOutside
}

// Length implements [h2serve.BufferedHandler].
func (h *bufferedHandler) Length(_ *h2serve.Request, begin []byte) int {
	return min(grpc.Length(begin), h.g.cfg.MaxMessage)
}

// Handle implements [h2serve.BufferedHandler].
func (h *bufferedHandler) Handle(r *h2serve.Request) bool {
	c, _ := r.Data.(*bufferedCall)
	message, ok := grpc.Message(r.Body)
	if c == nil || !ok || len(message) > h.g.cfg.MaxMessage {
		return false
	}
	for _, f := range r.Fields {
		if key := h.headerKey(f.Name); key != "" {
			c.Info.RequestHeader().Add(key, f.Value)
		}
	}
	c.Request = message
	c.Owned = r.Owned
	c.Owner = c
	if h.g.calls.begin(c.client) != nil {
		return false // ServeHTTP reports it
	}
	r.OnCancel(c.Cancel)
	if !h.caller.Begin(c.ns, &c.Call) {
		h.g.calls.end(c.client)
		return false
	}
	return true
}

// headerKey returns the canonical form of a header's name, or "" where the header is dropped.
func (h *bufferedHandler) headerKey(name string) string {
	key, ok := h.headerKeys[name]
	if !ok {
		key = textproto.CanonicalMIMEHeaderKey(name)
		if !bridge.Forwarded(key) || h.g.skip(key) {
			key = ""
		}
		if len(h.headerKeys) < maxHeaderKeys {
			h.headerKeys[name] = key
		}
	}
	return key
}

// Flush implements [h2serve.BufferedHandler].
func (h *bufferedHandler) Flush() { h.caller.Flush() }

// Close implements [h2serve.BufferedHandler].
func (h *bufferedHandler) Close() {}

var (
	fieldStatus         = hpack.HeaderField{Name: ":status", Value: "200"}
	fieldType           = hpack.HeaderField{Name: "content-type", Value: "application/grpc+proto"}
	fieldAcceptEncoding = hpack.HeaderField{Name: "grpc-accept-encoding", Value: connect.CompressionNameGzip}
)

// minKeptResponse is the size, in bytes, from which a response is kept rather than copied while it waits for the
// client's flow-control windows.
const minKeptResponse = 64 << 10

// Done implements [rawcall.Owner]: it sends the response.
func (c *bufferedCall) Done(*rawcall.Call) rawcall.Output {
	c.g.calls.end(c.client)
	var head, trailer [8]hpack.HeaderField
	var body [2][]byte
	err := verdict(c.g.publicError(c.Err, c.Procedure))
	r := h2serve.Response{
		Head:    appendUser(append(head[:0], fieldStatus, fieldType, fieldAcceptEncoding), c.Info.ResponseHeader()),
		Trailer: grpc.AppendStatus(appendUser(trailer[:0], c.Info.ResponseTrailer()), err),
	}
	if err == nil {
		prefix := grpc.Prefix(len(c.Response))
		body = [2][]byte{prefix[:], c.Response}
		r.Body = body[:]
		r.Kept = len(c.Response) > minKeptResponse
		if r.Kept {
			c.KeepResponse()
		}
	}
	conn := c.request.Conn()
	c.request.Respond(&r)
	return conn
}

// verdict is the error of a call in the form that its caller sees; nil if it has none.
func verdict(err error) *connect.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*connect.Error](bridge.Verdict(err)); ok && e != nil {
		return e
	}
	return connect.NewError(connect.CodeUnknown, "")
}

// appendUser appends the user's headers of h. Values that HTTP does not allow are left out.
func appendUser(fields []hpack.HeaderField, h *connect.Header) []hpack.HeaderField {
	for key, values := range bridge.User(h) {
		name := strings.ToLower(key)
		if !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, v := range values {
			if httpguts.ValidHeaderFieldValue(v) {
				fields = append(fields, hpack.HeaderField{Name: name, Value: v})
			}
		}
	}
	return fields
}
