package carrier

import (
	"fmt"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
)

// explainResponse explains an HTTP answer that is no node's.
func (a *attempt) explainResponse(e *h2link.ResponseError) error {
	code, todo := a.remedy(e)
	server := "the server"
	if e.Server != "" {
		server = fmt.Sprintf("the server (%.40q)", e.Server)
	}
	said := fmt.Sprintf("HTTP status %d", e.Status)
	if e.Status == 200 {
		said = fmt.Sprintf("content type %.60q, which is no node's", e.ContentType)
	}
	return failure(e, code, "%s at %s answered with %s: %s", server, a.display, said, todo)
}

// remedy returns what to do about a response, and the code of the error: see attempt.
func (a *attempt) remedy(e *h2link.ResponseError) (connect.Code, string) {
	path := a.path + Procedure
	switch e.Status {
	case 301, 302, 303, 307, 308:
		return connect.CodeFailedPrecondition, fmt.Sprintf("link to where it redirects, %.200q, if the node is there", e.Location)
	case 400:
		if a.cert.missing() { // which is how nginx answers
			return connect.CodeUnauthenticated, "it asked for a client certificate and got none: set Certificates in " + a.tlsField
		}
	case 401, 407:
		return connect.CodeUnauthenticated, "a proxy or middleware wants credentials: let it pass POST " + path + ", for which nodes prove their secret"
	case 403:
		return connect.CodePermissionDenied, "a proxy or middleware forbids it: let it pass POST " + path
	case 404, 405, 415:
		code := connect.CodeFailedPrecondition
		if e.Status == 404 {
			code = connect.CodeNotFound
		}
		return code, fmt.Sprintf("no node is there: link to where Node.Serve listens, or to the path under which Node.Mount is served, now %q", a.path+"/")
	case 413:
		return connect.CodeResourceExhausted, "a proxy bounds how long requests are, and a link is one: lift that (nginx: client_max_body_size 0)"
	case 421:
		return connect.CodeFailedPrecondition, "it does not serve this host: correct the URL's, or the proxy's names"
	case 426, 505:
		return connect.CodeFailedPrecondition, "let it speak HTTP/2, or link to where the node is"
	case 408, 425, 429:
		return connect.CodeUnavailable, "let the proxy take links' requests, POST " + path + ", without a limit"
	case 502, 503, 504:
		return connect.CodeUnavailable, "it cannot reach the node: see whether that is up, and have it spoken to in HTTP/2 (nginx: grpc_pass)"
	case 200:
		return connect.CodeFailedPrecondition, "link to where a node listens"
	}
	if e.Status >= 500 {
		return connect.CodeUnavailable, "see its log"
	}
	return connect.CodeFailedPrecondition, "see its log, and let it pass POST " + path
}
