package carrier

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"

	"connectrpc.com/connect/v2"
)

// Alerts of TLS: RFC 8446 section 6.
const (
	alertHandshakeFailure       tls.AlertError = 40
	alertBadCertificate         tls.AlertError = 42
	alertUnsupportedCertificate tls.AlertError = 43
	alertCertificateRevoked     tls.AlertError = 44
	alertCertificateExpired     tls.AlertError = 45
	alertCertificateUnknown     tls.AlertError = 46
	alertUnknownCA              tls.AlertError = 48
	alertAccessDenied           tls.AlertError = 49
	alertProtocolVersion        tls.AlertError = 70
	alertInsufficientSecurity   tls.AlertError = 71
	alertUnrecognizedName       tls.AlertError = 112
	alertCertificateRequired    tls.AlertError = 116
	alertNoApplicationProtocol  tls.AlertError = 120
)

// alertOf returns the alert of the peer's that err is of, nil where there is none.
func alertOf(err error) *net.OpError {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" { // as crypto/tls has it
		return op
	}
	return nil
}

// alerted explains a peer's alert. Package tls keeps the alert's number to itself, but for its text.
func (a *attempt) alerted(op *net.OpError) error {
	is := func(alerts ...tls.AlertError) bool {
		for _, alert := range alerts {
			if op.Err.Error() == alert.Error() {
				return true
			}
		}
		return false
	}
	switch {
	case is(alertNoApplicationProtocol):
		return a.withoutHTTP2(op)
	case is(alertCertificateRequired), a.cert.missing() && is(alertBadCertificate, alertHandshakeFailure, alertAccessDenied):
		return failure(op, connect.CodeUnauthenticated,
			"the server at %s wants a client certificate, and got none: set Certificates in %s to one of an authority that it trusts", a.shown, a.setting)
	case is(alertBadCertificate, alertUnsupportedCertificate, alertCertificateRevoked, alertCertificateExpired,
		alertCertificateUnknown, alertUnknownCA, alertAccessDenied):
		return failure(op, connect.CodeUnauthenticated,
			"the server at %s does not accept this node's client certificate (%v): set Certificates in %s to one that is in time, "+
				"for clients, and of an authority that it trusts", a.shown, op.Err, a.setting)
	case is(alertUnrecognizedName):
		return failure(op, connect.CodeFailedPrecondition,
			"the server at %s has no certificate for the name that it is called by: link by another, or set ServerName in %s", a.shown, a.setting)
	case is(alertHandshakeFailure, alertProtocolVersion, alertInsufficientSecurity):
		return failure(op, connect.CodeFailedPrecondition,
			"the server at %s has no version or cipher of TLS in common with this node (%v): see MinVersion and MaxVersion at both, here in %s",
			a.shown, op.Err, a.setting)
	}
	return failure(op, connect.CodeUnavailable, "the server at %s broke TLS off (%v): see its log", a.shown, op.Err)
}

// clientCert notes what became of a server's question for a client certificate.
type clientCert struct{ asked, given atomic.Bool }

func (c *clientCert) missing() bool { return c != nil && c.asked.Load() && !c.given.Load() }

// watch has cfg, of a dialler, note when it is asked for a certificate. What it answers stays as it was.
func (c *clientCert) watch(cfg *tls.Config) {
	get := cfg.GetClientCertificate
	if get == nil {
		get = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			for i := range cfg.Certificates {
				if request.SupportsCertificate(&cfg.Certificates[i]) == nil {
					return &cfg.Certificates[i], nil
				}
			}
			return new(tls.Certificate), nil
		}
	}
	cfg.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.asked.Store(true)
		cert, err := get(request)
		c.given.Store(cert != nil && len(cert.Certificate) > 0)
		return cert, err
	}
}

// firstLine returns the first line of what a server said.
func firstLine(said []byte) []byte {
	line, _, _ := bytes.Cut(said, []byte("\n"))
	return bytes.TrimRight(line, "\r")
}
