package h2serve_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// TestTLS: a connection by a cipher suite that RFC 9113 section 9.2.2 prohibits is ended by INADEQUATE_SECURITY.
func TestTLS(t *testing.T) {
	for name, test := range map[string]struct {
		suite uint16
		want  http2.ErrCode
	}{
		"prohibited": {tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, http2.ErrCodeInadequateSecurity},
		"allowed":    {tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, http2.ErrCodeNo},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			served := make(chan struct{})
			go func() {
				defer close(served)
				nc, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				cfg := serverTLS()
				cfg.MaxVersion, cfg.CipherSuites = tls.VersionTLS12, []uint16{test.suite}
				_ = h2serve.Serve(t.Context(), tls.Server(nc, cfg), nil, h2serve.Options{Handler: http.NotFoundHandler()})
			}()
			cfg := clientTLS()
			cfg.NextProtos, cfg.CipherSuites = []string{"h2"}, []uint16{test.suite}
			nc, err := tls.Dial("tcp", l.Addr().String(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			frames := http2.NewFramer(nc, nc)
			_, _ = io.WriteString(nc, http2.ClientPreface)
			_ = frames.WriteSettings()
			if got := goAway(frames, nc.CloseWrite); got != test.want {
				t.Errorf("it ended with %v; want %v", got, test.want)
			}
			_ = nc.Close()
			<-served
		})
	}
}

// goAway reads until GOAWAY comes, calls hangUp when the server has greeted, and returns the code.
func goAway(frames *http2.Framer, hangUp func() error) http2.ErrCode {
	for {
		f, err := frames.ReadFrame()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return http2.ErrCodeNo
			}
			return http2.ErrCodeConnect
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			return f.ErrCode
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = hangUp()
			}
		}
	}
}
