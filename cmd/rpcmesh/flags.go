package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
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
		return usagef("%w (-h lists the flags)", err)
	case f.NArg() < least:
		return usagef("an argument is missing (-h says which)")
	case f.NArg() > most:
		return usagef("%q is one argument too many: flags come before arguments (see -h)", f.Arg(most))
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
	f.StringVar(&s.file, "secret-file", "", "`file` with the mesh's secret; default: the environment variable "+secretVariable)
	f.BoolVar(&s.anyone, "accept-anyone", false, "link with nodes that prove no secret")
}

// read returns the secret, empty where none is wanted.
func (s *secretFlags) read(t *terminal) (string, error) {
	switch {
	case s.anyone && s.file != "":
		return "", usagef("a file with a secret contradicts accepting anyone: give one of them")
	case s.anyone:
		return "", nil
	case s.file != "":
		return readSecret(s.file)
	}
	secret := t.getenv(secretVariable)
	if secret == "" {
		return "", usagef("the mesh's secret is missing: give -secret-file, set %s, or link with anyone by -accept-anyone", secretVariable)
	}
	return secret, nil
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
		return "", usagef("%s is empty", path)
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
		return nil, usagef("%s is longer than %d bytes", path, limit)
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

// client returns the configuration to dial with; nil is that of the host.
func (c *tlsConfig) client() (*tls.Config, error) {
	if c == nil || *c == (tlsConfig{}) {
		return nil, nil //nolint:nilnil // nil is the default
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := readFile(c.CAFile, 1<<20)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("%s has no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" || c.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, &usageError{err}
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// server returns the configuration to listen with; nil is cleartext.
func (c *tlsConfig) server() (*tls.Config, error) {
	if c == nil || *c == (tlsConfig{}) {
		return nil, nil //nolint:nilnil // nil is the default
	}
	if c.CertFile == "" || c.KeyFile == "" || c.ServerName != "" {
		return nil, usagef("TLS to listen with needs a certificate and its key, and no server name")
	}
	cfg, err := c.client()
	if err == nil && cfg.RootCAs != nil {
		cfg.ClientCAs, cfg.RootCAs, cfg.ClientAuth = cfg.RootCAs, nil, tls.RequireAndVerifyClientCert
	}
	return cfg, err
}

// policies are the names of the policies.
func policies() []string {
	var names []string
	for p := rpcmesh.Single; p <= rpcmesh.Nearest; p++ {
		names = append(names, p.String())
	}
	return names
}

func parsePolicy(name string) (rpcmesh.Policy, error) {
	if name == "" {
		return rpcmesh.Single, nil
	}
	i := slices.Index(policies(), name)
	if i < 0 {
		return 0, usagef("there is no policy %q: it is one of %s", name, strings.Join(policies(), ", "))
	}
	return rpcmesh.Policy(i), nil
}
