package h2core

import (
	"crypto/tls"
	"errors"
	"slices"
)

// suites are those of TLS 1.2 in crypto/tls that RFC 9113's appendix A does not prohibit.
var suites = []uint16{
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// CheckTLS says what of a connection's TLS HTTP/2 does not allow (RFC 9113 section 9.2), nil if nothing. The
// connection is to be ended by INADEQUATE_SECURITY.
func CheckTLS(state tls.ConnectionState) error {
	switch {
	case state.Version < tls.VersionTLS12:
		return errors.New("HTTP/2 takes TLS 1.2 or later")
	case state.Version == tls.VersionTLS12 && !slices.Contains(suites, state.CipherSuite):
		return errors.New("TLS 1.2 with a cipher suite that HTTP/2 prohibits")
	}
	return nil
}
