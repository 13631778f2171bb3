package guard

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"time"
)

// TLS returns a copy of cfg whose functions fail the handshake where they would panic. nil stays nil. A key that is
// no memory of ours, and panics when it is to sign, is its owner's to mend.
func TLS(log *slog.Logger, what string, cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	c := cfg.Clone()
	name := func(field string) string { return what + "." + field }
	c.GetCertificate = guarded(log, name("GetCertificate"), c.GetCertificate)
	c.GetClientCertificate = guarded(log, name("GetClientCertificate"), c.GetClientCertificate)
	c.GetEncryptedClientHelloKeys = guarded(log, name("GetEncryptedClientHelloKeys"), c.GetEncryptedClientHelloKeys)
	c.VerifyConnection = verifying(log, name("VerifyConnection"), c.VerifyConnection)
	c.EncryptedClientHelloRejectionVerify = verifying(log, name("EncryptedClientHelloRejectionVerify"), c.EncryptedClientHelloRejectionVerify)
	if get := guarded(log, name("GetConfigForClient"), c.GetConfigForClient); get != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := get(hello)
			return TLS(log, name("GetConfigForClient"), chosen), err
		}
	}
	if verify := c.VerifyPeerCertificate; verify != nil {
		c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
			return Call(log, name("VerifyPeerCertificate"), func() error { return verify(raw, chains) })
		}
	}
	if wrap := c.WrapSession; wrap != nil {
		c.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) (ticket []byte, err error) {
			err = Call(log, name("WrapSession"), func() (err error) {
				ticket, err = wrap(cs, ss)
				return err
			})
			return ticket, err
		}
	}
	if unwrap := c.UnwrapSession; unwrap != nil {
		c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (ss *tls.SessionState, err error) {
			err = Call(log, name("UnwrapSession"), func() (err error) {
				ss, err = unwrap(ticket, cs)
				return err
			})
			return ss, err
		}
	}
	c.Time = clock(log, name("Time"), c.Time)
	if c.KeyLogWriter != nil {
		c.KeyLogWriter = &writer{c.KeyLogWriter, log, name("KeyLogWriter")}
	}
	if c.ClientSessionCache != nil {
		c.ClientSessionCache = &cache{c.ClientSessionCache, log, name("ClientSessionCache")}
	}
	return c
}

// guarded returns get as one that fails where it would panic.
func guarded[In, Out any](log *slog.Logger, what string, get func(In) (Out, error)) func(In) (Out, error) {
	if get == nil {
		return nil
	}
	return func(in In) (out Out, err error) {
		err = Call(log, what, func() (err error) {
			out, err = get(in)
			return err
		})
		return out, err
	}
}

// verifying is guarded for what only decides.
func verifying(log *slog.Logger, what string, verify func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	if verify == nil {
		return nil
	}
	return func(cs tls.ConnectionState) error {
		return Call(log, what, func() error { return verify(cs) })
	}
}

// clock is guarded for a clock, in whose place comes the system's.
func clock(log *slog.Logger, what string, now func() time.Time) func() time.Time {
	if now == nil {
		return nil
	}
	return func() time.Time {
		t := time.Now()
		_ = Call(log, what, func() error {
			t = now()
			return nil
		})
		return t
	}
}

type writer struct {
	io.Writer
	log  *slog.Logger
	what string
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (n int, err error) {
	err = Call(w.log, w.what, func() (err error) {
		n, err = w.Writer.Write(p)
		return err
	})
	return n, err
}

// cache is a session cache that has forgotten where it would panic.
type cache struct {
	inner tls.ClientSessionCache
	log   *slog.Logger
	what  string
}

// Get implements tls.ClientSessionCache.
func (c *cache) Get(key string) (session *tls.ClientSessionState, ok bool) {
	err := Call(c.log, c.what, func() error {
		session, ok = c.inner.Get(key)
		return nil
	})
	return session, ok && err == nil
}

// Put implements tls.ClientSessionCache.
func (c *cache) Put(key string, session *tls.ClientSessionState) {
	_ = Call(c.log, c.what, func() error {
		c.inner.Put(key, session)
		return nil
	})
}
