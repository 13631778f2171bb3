package h2link

import (
	"crypto/tls"
	"errors"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// ALPN is the protocol by which a dialler shows over TLS that it is one. What is spoken is HTTP/2.
const ALPN = "rpcmesh-h2"

const (
	alpnHTTP2 = "h2"
	alpnHTTP1 = "http/1.1"
)

// ClientTLS returns a copy of cfg, which may be nil, that offers servers a link, then HTTP/2.
func ClientTLS(cfg *tls.Config) *tls.Config { return withProtocols(cfg, ALPN, alpnHTTP2) }

// ServerTLS returns a copy of cfg, which may be nil, that takes links, HTTP/2 and HTTP/1.1, for a
// Listener and the http.Server behind it.
func ServerTLS(cfg *tls.Config) *tls.Config {
	return withProtocols(cfg, ALPN, alpnHTTP2, alpnHTTP1)
}

func withProtocols(cfg *tls.Config, protocols ...string) *tls.Config {
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg = cfg.Clone()
	cfg.NextProtos = protocols
	return cfg
}

// Binding returns 32 bytes that only the two ends of a TLS connection know, nil without TLS: the
// channel binding "tls-exporter" of RFC 9266. It takes TLS 1.3, or 1.2 with the extended master
// secret. It serves connections of net/http's too.
func Binding(state *tls.ConnectionState) ([]byte, error) {
	if state == nil {
		return nil, nil
	}
	return state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
}

// checkTLS reports what is against speaking HTTP/2 over the connection: RFC 9113 section 9.2.
func checkTLS(state tls.ConnectionState) error {
	if err := h2core.CheckTLS(state); err != nil {
		return err
	}
	if state.NegotiatedProtocol != ALPN && state.NegotiatedProtocol != alpnHTTP2 {
		return ErrALPN
	}
	return nil
}

// TLSError is the cause of an error of a client that could not agree on TLS with its peer.
type TLSError struct{ Err error }

func (e *TLSError) Error() string { return e.Err.Error() }

// Unwrap returns what crypto/tls found, or [ErrALPN].
func (e *TLSError) Unwrap() error { return e.Err }

// ErrALPN is the cause of an error of a client whose peer took no protocol that it offered.
var ErrALPN = errors.New("the peer does not speak HTTP/2: ALPN did not agree on it")
