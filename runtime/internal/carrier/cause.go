package carrier

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
)

// attempt is what is known of an attempt to reach a node, by which its failure is explained: what was found there,
// and what to set. The code of an explained failure distinguishes what does not go away by itself (failed_precondition,
// not_found, unauthenticated, permission_denied) from what may (unavailable, resource_exhausted).
type attempt struct {
	target
	scheme   string
	tlsField string // the field of the configuration that TLS is in
	cert     *clientCert
}

// failure is a cause with a text for people.
func failure(cause error, code connect.Code, format string, args ...any) error {
	return connect.Errorf(code, format, args...).WithCause(cause)
}

// Explain returns an error that explains why a link failed on c, where that follows from what the peer sent instead of
// one. An error that comes from a node, and any other, is returned as it is.
func (c Conn) Explain(err error) error {
	if ce, ok := errors.AsType[*connect.Error](err); ok && ce.IsRemote() || c.Stage() == h2link.ResponseReceived {
		return err
	}
	return c.attempt.explain(err, c.Stage())
}

// Waiting returns a text: what a link on c that is not up yet waits for, and what to do if that lasts.
func (c Conn) Waiting() string { return c.attempt.waiting(c.Stage()) }

// explain explains why a call that had come to stage failed.
func (a *attempt) explain(err error, stage h2link.Stage) error {
	if e, ok := errors.AsType[*h2link.TLSError](err); ok {
		return a.explainTLS(e.Err)
	}
	if e, ok := errors.AsType[*h2link.NotHTTP2Error](err); ok {
		return a.explainNotHTTP2(e)
	}
	if e, ok := errors.AsType[*h2link.ResponseError](err); ok {
		return a.explainResponse(e)
	}
	if e, ok := errors.AsType[*h2link.GoAwayError](err); ok {
		return a.explainGoAway(err, e)
	}
	if e := remoteAlert(err); e != nil {
		return a.explainAlert(e)
	}
	switch {
	case connect.CodeOf(err) == connect.CodeDeadlineExceeded:
		return failure(err, connect.CodeUnavailable, "%s", a.waiting(stage))
	case stage == h2link.RequestSent && isClosed(err):
		return a.explainClosed(err)
	}
	return err
}

// isClosed reports whether the peer has ended the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (a *attempt) explainNotHTTP2(e *h2link.NotHTTP2Error) error {
	switch {
	case e.TLS():
		return a.explainTLSRequired(e)
	case e.HTTP1():
		return failure(e, connect.CodeFailedPrecondition,
			"the server at %s speaks HTTP/1 only (%.60q): let it speak HTTP/2 (a Go http.Server: set SetUnencryptedHTTP2 of its Protocols; "+
				"nginx: http2 on, and grpc_pass), or link to where the node is", a.display, firstLine(e.Received))
	default:
		return failure(e, connect.CodeFailedPrecondition,
			"the server at %s speaks another protocol, not HTTP/2 (it begins with %.60q): correct the URL's host and port",
			a.display, firstLine(e.Received))
	}
}

func (a *attempt) explainTLSRequired(cause error) error {
	return failure(cause, connect.CodeFailedPrecondition,
		"the server at %s speaks TLS: link to https://%s%s", a.display, a.authority, a.path)
}

func (a *attempt) explainGoAway(err error, e *h2link.GoAwayError) error {
	switch {
	case e.Code == http2.ErrCodeInadequateSecurity && a.scheme != "https":
		return a.explainTLSRequired(e)
	case e.Code == http2.ErrCodeHTTP11Required:
		return failure(e, connect.CodeFailedPrecondition,
			"the server at %s wants HTTP/1, and a link takes HTTP/2: let it speak that, or link to where the node is", a.display)
	}
	return err
}

// waiting returns what is waited for at a stage, and what to do if that lasts.
func (a *attempt) waiting(stage h2link.Stage) string {
	switch {
	case stage == h2link.ResponseReceived:
		return fmt.Sprintf("the node at %s is there, but the handshake goes on: it is overloaded, or a proxy holds back what it "+
			"is to pass on (nginx: grpc_pass)", a.display)
	case stage == h2link.SettingsReceived:
		return fmt.Sprintf("the server at %s speaks HTTP/2 but does not answer: if it is a proxy, let it pass requests on "+
			"before they have ended (nginx: grpc_pass, not proxy_pass), and see whether the node behind it is up", a.display)
	case a.scheme == "https":
		return fmt.Sprintf("connected to %s by TLS, but HTTP/2 does not begin: see what listens there, and whether it is overloaded", a.display)
	default:
		return fmt.Sprintf("connected to %s, which says nothing: let a node accept there (Node.Serve, or an http.Server), "+
			"and link by https if it is TLS that is spoken", a.display)
	}
}

// explainClosed explains a peer that closes the connection without having sent anything.
func (a *attempt) explainClosed(cause error) error {
	if a.cert.missing() {
		return failure(cause, connect.CodeUnavailable,
			"the server at %s asked for a client certificate, got none and closed the connection: set Certificates in %s", a.display, a.tlsField)
	}
	hint := "link by https if it speaks TLS"
	if a.scheme == "https" {
		hint = "see its log"
	}
	return failure(cause, connect.CodeUnavailable,
		"the server at %s closed the connection without a word: %s; if it is a proxy, see whether the node behind it is up", a.display, hint)
}

// explainDial explains why no connection was made.
func (a *attempt) explainDial(err error) error {
	code := connect.CodeUnavailable
	var text string
	name, unknown := errors.AsType[*net.DNSError](err)
	switch {
	case unknown && name.IsNotFound:
		text = fmt.Sprintf("the host name %q is not known: correct the URL, or the name service", name.Name)
	case unknown:
		text = fmt.Sprintf("the host name %q cannot be looked up: see to this host's name service", name.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		text = fmt.Sprintf("nobody listens at %s (connection refused): start the node there (Node.Serve), or correct the URL", a.display)
	case errors.Is(err, fs.ErrNotExist):
		text = fmt.Sprintf("there is no socket %s: start the node that serves it, or correct the URL", a.display)
	case errors.Is(err, fs.ErrPermission) && a.network == SchemeUnix:
		code = connect.CodePermissionDenied
		text = fmt.Sprintf("this process may not connect to %s: let its user write to that socket, and search its directory", a.display)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		text = "this process has too many open files: raise the limit (ulimit -n)"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		text = fmt.Sprintf("%s does not answer: see whether the host is up, and whether a firewall drops what is sent there", a.display)
	default:
		text = fmt.Sprintf("no connection to %s (see the address, and the network in between): %v", a.display, err)
	}
	return failure(err, code, "%s", text)
}

// explainTLS explains a TLS handshake that failed.
func (a *attempt) explainTLS(err error) error {
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return failure(err, connect.CodeFailedPrecondition,
			"the server at %s does not speak TLS (it begins with %q): link to http://%s%s, or set Config.TLS at the node",
			a.display, e.RecordHeader[:], a.authority, a.path)
	}
	if e := remoteAlert(err); e != nil {
		return a.explainAlert(e)
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return a.explainCertificate(e)
	}
	switch {
	case errors.Is(err, h2link.ErrALPN):
		return a.explainALPN(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return failure(err, connect.CodeUnavailable,
			"the server at %s does not take part in TLS's handshake: let a node accept there, or link by http if it speaks no TLS", a.display)
	case isClosed(err):
		return failure(err, connect.CodeUnavailable,
			"the server at %s closed the connection within TLS's handshake: link by http if it speaks no TLS; "+
				"if it is a proxy, see whether the node behind it is up", a.display)
	}
	return failure(err, connect.CodeUnavailable, "TLS with %s failed: %v: see %s, and the server's log", a.display, err, a.tlsField)
}

// explainCertificate explains why the server's certificate does not do.
func (a *attempt) explainCertificate(e *tls.CertificateVerificationError) error {
	todo := "see " + a.tlsField
	if _, ok := errors.AsType[x509.HostnameError](e); ok {
		todo = "link by a name that the certificate is for, or set ServerName in " + a.tlsField
	} else if _, ok := errors.AsType[x509.UnknownAuthorityError](e); ok {
		todo = "put the authority's certificate into RootCAs of " + a.tlsField
	} else if bad, ok := errors.AsType[x509.CertificateInvalidError](e); ok {
		todo = "give the server one that is for servers, of an authority that may issue it"
		if bad.Reason == x509.Expired && time.Now().Before(bad.Cert.NotBefore) {
			todo = "set the clocks right, this host's and that of who issued it"
		} else if bad.Reason == x509.Expired {
			todo = "renew it, or set this host's clock right"
		}
	}
	return failure(e, connect.CodeUnauthenticated, "the certificate of the server at %s is refused: %v: %s", a.display, e.Err, todo)
}

func (a *attempt) explainALPN(cause error) error {
	return failure(cause, connect.CodeFailedPrecondition,
		"the server at %s does not take HTTP/2 over TLS (ALPN): let it (nginx: http2 on; a Go tls.Config: \"h2\" in NextProtos), "+
			"or, as a proxy, pass TLS through", a.display)
}
