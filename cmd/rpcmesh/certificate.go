package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a certificate and its key in files, which are read again when they have changed: a renewed one
// is shown to whoever connects next.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger // nil: what keeps a new one from being read is not told

	mu    sync.Mutex
	cert  *tls.Certificate
	times [2]time.Time // when the files were changed
}

func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = c.changedLocked()
	if err := c.readLocked(); err != nil {
		return nil, err
	}
	return c, nil
}

// get returns the certificate that the files have, or the last that they had.
func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if times := c.changedLocked(); times != c.times {
		c.times = times
		if err := c.readLocked(); err != nil && c.log != nil {
			c.log.Error("the certificate stays as it was", "file", c.certFile, "error", err.Error())
		}
	}
	return c.cert
}

func (c *certificate) changedLocked() (times [2]time.Time) {
	for i, path := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(path); err == nil {
			times[i] = info.ModTime()
		}
	}
	return times
}

func (c *certificate) readLocked() error {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return &usageError{err}
	}
	renewed := c.cert != nil
	c.cert = &cert
	if renewed && c.log != nil {
		c.log.Info("certificate read again", "file", c.certFile, "expires", cert.Leaf.NotAfter)
	}
	return nil
}
