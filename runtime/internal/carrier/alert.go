package carrier

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync/atomic"

	"connectrpc.com/connect/v2"
)

// alert is one of TLS: RFC 8446 section 6.
type alert uint8

const (
	alertHandshakeFailure       alert = 40
	alertBadCertificate         alert = 42
	alertUnsupportedCertificate alert = 43
	alertCertificateRevoked     alert = 44
	alertCertificateExpired     alert = 45
	alertCertificateUnknown     alert = 46
	alertUnknownCA              alert = 48
	alertAccessDenied           alert = 49
	alertProtocolVersion        alert = 70
	alertInsufficientSecurity   alert = 71
	alertUnrecognizedName       alert = 112
	alertCertificateRequired    alert = 116
	alertNoApplicationProtocol  alert = 120
)

// remoteAlert returns the alert of the peer's that err is of, nil where there is none.
func remoteAlert(err error) *net.OpError {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" { // as crypto/tls has it
		return op
	}
	return nil
}

// explainAlert explains a peer's alert. Package tls keeps the alert's number to itself, but for its text.
func (a *attempt) explainAlert(op *net.OpError) error {
	is := func(alerts ...alert) bool {
		return slices.ContainsFunc(alerts, func(one alert) bool { return op.Err.Error() == tls.AlertError(one).Error() })
	}
	switch {
	case is(alertNoApplicationProtocol):
		return a.explainALPN(op)
	case is(alertCertificateRequired), a.cert.missing() && is(alertBadCertificate, alertHandshakeFailure, alertAccessDenied):
		return failure(op, connect.CodeUnauthenticated,
			"the server at %s wants a client certificate, and got none: set Certificates in %s to one of an authority that it trusts", a.display, a.tlsField)
	case is(alertBadCertificate, alertUnsupportedCertificate, alertCertificateRevoked, alertCertificateExpired,
		alertCertificateUnknown, alertUnknownCA, alertAccessDenied):
		return failure(op, connect.CodeUnauthenticated,
			"the server at %s does not accept this node's client certificate (%v): set Certificates in %s to one that is in time, "+
				"for clients, and of an authority that it trusts", a.display, op.Err, a.tlsField)
	case is(alertUnrecognizedName):
		return failure(op, connect.CodeFailedPrecondition,
			"the server at %s has no certificate for the name that it is called by: link by another, or set ServerName in %s", a.display, a.tlsField)
	case is(alertHandshakeFailure, alertProtocolVersion, alertInsufficientSecurity):
		return failure(op, connect.CodeFailedPrecondition,
			"the server at %s has no version or cipher of TLS in common with this node (%v): see MinVersion and MaxVersion at both, here in %s",
			a.display, op.Err, a.tlsField)
	}
	return failure(op, connect.CodeUnavailable, "the server at %s broke TLS off (%v): see its log", a.display, op.Err)
}

// clientCert notes what became of a server's question for a client certificate.
type clientCert struct{ requested, provided atomic.Bool }

func (c *clientCert) missing() bool { return c != nil && c.requested.Load() && !c.provided.Load() }

// watch has a client's cfg record whether a certificate is requested, and provided. Which one that is does not change.
func (c *clientCert) watch(cfg *tls.Config) {
	get := cfg.GetClientCertificate
	cfg.GetClientCertificate = func(request *tls.CertificateRequestInfo) (cert *tls.Certificate, err error) {
		c.requested.Store(true)
		if get != nil {
			cert, err = get(request)
		} else {
			cert = chooseCertificate(cfg.Certificates, request)
		}
		c.provided.Store(cert != nil && len(cert.Certificate) > 0)
		return cert, err
	}
}

// chooseCertificate chooses as crypto/tls does where nobody else is to.
func chooseCertificate(certs []tls.Certificate, request *tls.CertificateRequestInfo) *tls.Certificate {
	for i := range certs {
		if request.SupportsCertificate(&certs[i]) == nil {
			return &certs[i]
		}
	}
	return new(tls.Certificate)
}

// firstLine returns the first line of what a server sent.
func firstLine(said []byte) []byte {
	line, _, _ := bytes.Cut(said, []byte("\n"))
	return bytes.TrimRight(line, "\r")
}
