package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// secretVariable is the environment variable that may hold the mesh's secret.
const secretVariable = "RPCMESH_SECRET" //nolint:gosec // its name

// flags are those of one command.
type flags struct {
	*flag.FlagSet
	t     *terminal
	about string // the arguments and what the command does
}

func newFlags(t *terminal, name, about string) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), t: t, about: about}
	f.SetOutput(io.Discard) // run says what is wrong
	f.Usage = func() {}
	return f
}

// parse reads args, of which least to most are no flags.
func (f *flags) parse(args []string, least, most int) error {
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprintf(f.t.out, "usage: rpcmesh %s [flags] %s\n\nflags:\n", f.Name(), f.about)
		f.SetOutput(f.t.out)
		f.PrintDefaults()
		return err
	case err != nil:
		return usagef("%w (use -h, which lists the flags)", err)
	case f.NArg() < least:
		return usagef("an argument is missing (-h says which)")
	case f.NArg() > most:
		return usagef("%q is one argument too many: flags come before arguments (use -h)", f.Arg(most))
	}
	return nil
}

// list is a flag that may be given again, and takes several values with commas between.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	for part := range strings.SplitSeq(value, ",") {
		if part == "" {
			return errors.New("a value is empty")
		}
		*l = append(*l, part)
	}
	return nil
}

// secretFlags say how nodes prove themselves to each other.
type secretFlags struct {
	file   string
	anyone bool
}

func (s *secretFlags) add(f *flags) {
	f.StringVar(&s.file, "secret-file", "", "`file` with the mesh's secret, or several, one a line; default: the environment variable "+secretVariable)
	f.BoolVar(&s.anyone, "accept-anyone", false, "link with nodes that prove no secret")
}

// read returns the secrets, the preferred one first; none where none is wanted.
func (s *secretFlags) read(t *terminal) ([]string, error) {
	switch {
	case s.anyone && s.file != "":
		return nil, usagef("a file with a secret (-secret-file, or secret_file) contradicts accepting anyone: give one of them")
	case s.anyone:
		return nil, nil
	case s.file != "":
		text, err := readSecret(s.file)
		return lines(text), err
	}
	secrets := lines(t.getenv(secretVariable))
	if len(secrets) == 0 {
		return nil, usagef("the mesh's secret is missing: give a file with it (-secret-file, or secret_file in the node's file), set %s, "+
			"or link with anyone (-accept-anyone, or accept_anyone)", secretVariable)
	}
	return secrets, nil
}

// lines returns the lines of text that are not empty.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' })
}

// maxSecret bounds, in bytes, what is read as a secret.
const maxSecret = 64 << 10

// readSecret returns what is in a file, without the end of its line.
func readSecret(path string) (string, error) {
	b, err := readFile(path, maxSecret)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(b), "\r\n")
	if secret == "" {
		return "", usagef("%s is empty: give a file that is not", path)
	}
	return secret, nil
}

// readFile returns what is in a file of limit bytes at most.
func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, &usageError{err}
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	switch {
	case err != nil:
		return nil, &usageError{err}
	case int64(len(b)) > limit:
		return nil, usagef("%s must not be longer than %d bytes", path, limit)
	}
	return b, nil
}

// tlsConfig says how one end of connections shows itself and whom it believes.
type tlsConfig struct {
	// CAFile holds the certificates, in PEM, of those who may vouch for the other end.
	CAFile string `json:"ca_file"`
	// CertFile and KeyFile hold this end's certificate and key, in PEM.
	CertFile string `json:"cert_file"`
	KeyFile  string `json:"key_file"`
	// ServerName is the name that the other end's certificate is for, where it is not the URL's host.
	ServerName string `json:"server_name"`
}

// add adds the flags of a client to f, behind a prefix, for connections to what.
func (c *tlsConfig) add(f *flags, prefix, what string) {
	f.StringVar(&c.CAFile, prefix+"-ca", "", "`file` with the certificates that "+what+" is trusted by; default: the host's")
	f.StringVar(&c.CertFile, prefix+"-cert", "", "`file` with a certificate to show "+what)
	f.StringVar(&c.KeyFile, prefix+"-key", "", "`file` with that certificate's key")
	f.StringVar(&c.ServerName, prefix+"-name", "", "`name` in the certificate of "+what+"; default: the URL's host")
}

// client returns the configuration to dial with; nil is that of the host. log is told of certificates that are
// read again, and may be nil.
func (c *tlsConfig) client(log *slog.Logger) (*tls.Config, error) {
	if c == nil || *c == (tlsConfig{}) {
		return nil, nil //nolint:nilnil // nil is the default
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		var err error
		if cfg.RootCAs, err = readPool(c.CAFile); err != nil {
			return nil, err
		}
	}
	if c.CertFile != "" || c.KeyFile != "" {
		cert, err := newCertificate(c.CertFile, c.KeyFile, log)
		if err != nil {
			return nil, err
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert.get(), nil }
	}
	return cfg, nil
}

// server returns the configuration to listen with; nil is cleartext.
func (c *tlsConfig) server(log *slog.Logger) (*tls.Config, error) {
	if c == nil || *c == (tlsConfig{}) {
		return nil, nil //nolint:nilnil // nil is the default
	}
	if c.CertFile == "" || c.KeyFile == "" || c.ServerName != "" {
		return nil, usagef("TLS to listen with needs a certificate and its key, and no server name: give cert_file and key_file, and no server_name")
	}
	cert, err := newCertificate(c.CertFile, c.KeyFile, log)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.get(), nil },
	}
	if c.CAFile != "" {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
		cfg.ClientCAs, err = readPool(c.CAFile)
	}
	return cfg, err
}

// readPool returns the certificates in a file.
func readPool(path string) (*x509.CertPool, error) {
	pem, err := readFile(path, 1<<20)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usagef("%s has no certificate in PEM: give a file that has", path)
	}
	return pool, nil
}

// policies are the names of the policies.
func policies() []string {
	var names []string
	for p := rpcmesh.PolicySingle; p <= rpcmesh.PolicyNearest; p++ {
		names = append(names, p.String())
	}
	return names
}

func parsePolicy(name string) (rpcmesh.Policy, error) {
	if name == "" {
		return rpcmesh.PolicySingle, nil
	}
	i := slices.Index(policies(), name)
	if i < 0 {
		return 0, usagef("there is no policy %q: use one of %s", name, strings.Join(policies(), ", "))
	}
	return rpcmesh.Policy(i), nil
}
