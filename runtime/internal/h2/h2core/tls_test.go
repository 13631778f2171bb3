package h2core

import (
	"crypto/tls"
	"testing"
)

// TestCheckTLS holds the list of suites to crypto/tls's: whatever that takes for secure and TLS 1.2 has with forward
// secrecy and AEAD is allowed, nothing else.
func TestCheckTLS(t *testing.T) {
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		for _, version := range suite.SupportedVersions {
			err := CheckTLS(tls.ConnectionState{Version: version, CipherSuite: suite.ID})
			allowed := version == tls.VersionTLS13
			for _, s := range suites {
				allowed = allowed || version == tls.VersionTLS12 && s == suite.ID && !suite.Insecure
			}
			if (err == nil) != allowed {
				t.Errorf("%s of %x: %v", suite.Name, version, err)
			}
		}
	}
	for id, allowed := range map[uint16]bool{
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: false,
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256: false, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: true,
	} {
		if err := CheckTLS(tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: id}); (err == nil) != allowed {
			t.Errorf("%s: %v", tls.CipherSuiteName(id), err)
		}
	}
}
