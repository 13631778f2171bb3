package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
)

// maxToken bounds the length of a token, in bytes.
const maxToken = 8 << 10

// Caller is who wants to call what, as [Config.Authorize] is asked.
type Caller struct {
	// Token is what follows "Bearer" in the header Authorization, and "" where there is none. It is a
	// secret: keep it out of logs and errors.
	Token string `json:"-"`
	// Namespace and Procedure are of the function that is to be called. Neither need exist.
	Namespace, Procedure string
	// RemoteAddr is the network address of the connection's other end, which may be a proxy's.
	RemoteAddr string
}

// String says who calls what, without the token.
func (c Caller) String() string { return c.RemoteAddr + " calls " + c.Procedure + " in " + c.Namespace }

// Format writes [Caller.String], by whatever verb.
func (c Caller) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is [Caller.String].
func (c Caller) LogValue() slog.Value { return slog.StringValue(c.String()) }

// authorize decides whether r's call of t is admitted. It returns the client that the call counts for, which without
// a token is who, and the token's name, where the gateway knows it.
func (g *Gateway) authorize(r *http.Request, t target, who client) (_ client, name string, err error) {
	if g.cfg.Open || g.cfg.OpenHealth && !g.cfg.NoHealth && isProbe(t.procedure) {
		return who, "", nil
	}
	token, err := bearer(r.Header)
	if err != nil {
		return who, "", err
	}
	c := Caller{Token: token, Namespace: t.namespace, Procedure: t.procedure, RemoteAddr: r.RemoteAddr}
	if tokens := g.cfg.Tokens; tokens != nil {
		g, err := tokens.authorize(c)
		if err != nil {
			return who, "", err
		}
		return clientByToken(g.hash), g.Name, nil
	}
	who, err = g.askAuthorize(r.Context(), c, who)
	return who, "", err
}

// isProbe reports whether procedure is one of the health service's that reveal only the state of services that the
// caller names.
func isProbe(procedure string) bool {
	return procedure == "/grpc.health.v1.Health/Check" || procedure == "/grpc.health.v1.Health/Watch"
}

// askAuthorize is authorize by Config.Authorize.
func (g *Gateway) askAuthorize(ctx context.Context, c Caller, who client) (client, error) {
	err := g.cfg.Authorize(ctx, c)
	switch {
	case err == nil && c.Token == "":
		return who, nil
	case err == nil:
		return clientByToken(sha256.Sum256([]byte(c.Token))), nil
	}
	if e := coded.Of(err); e != nil && !e.IsRemote() {
		return who, e
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return who, connect.NewError(coded.OfContext(ctx.Err()), "the call ended before it was admitted")
	}
	g.quiet.Log(slog.LevelWarn, "a call was not admitted by an error that its caller is not told", c.Procedure,
		slog.String("namespace", c.Namespace), slog.String("procedure", c.Procedure), slog.String("addr", c.RemoteAddr),
		slog.String("error", err.Error()))
	return who, connect.NewError(connect.CodeUnauthenticated, "the gateway does not admit the call: its log has why")
}

var errToken = connect.NewError(connect.CodeUnauthenticated, "the header Authorization must be: Bearer TOKEN")

// bearer returns the token of the header Authorization (RFC 6750, section 2.1), "" where there is none.
func bearer(h http.Header) (string, error) {
	values := h["Authorization"]
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", errToken
	}
	return bearerOf(values[0])
}

// bearerOf returns the token of a value of the header Authorization.
func bearerOf(value string) (string, error) {
	scheme, token, _ := strings.Cut(value, " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || !isToken(token) {
		return "", errToken
	}
	return token, nil
}

// isToken reports whether s is a b64token of RFC 6750.
func isToken(s string) bool {
	body := strings.TrimRight(s, "=")
	return body != "" && len(s) <= maxToken && !strings.ContainsFunc(body, func(r rune) bool {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return false
		}
		return !strings.ContainsRune("-._~+/", r)
	})
}
