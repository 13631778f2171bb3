package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
)

// config is the file of rpcmesh node. Paths in it are relative to where the command runs.
type config struct {
	// Name is the node's, and its identity in the mesh.
	Name string `json:"name"`
	// SecretFile holds the mesh's secret, or several, one a line; default: the environment variable RPCMESH_SECRET.
	SecretFile   string `json:"secret_file"`
	AcceptAnyone bool   `json:"accept_anyone"`
	// Listen are the addresses where other nodes link to, and where the gateway's callers come in.
	Listen []string   `json:"listen"`
	TLS    *tlsConfig `json:"tls"`
	// Namespaces are those that the node is a member of, besides those that are mentioned elsewhere.
	Namespaces []string       `json:"namespaces"`
	Groups     []groupConfig  `json:"groups"`
	Links      []linkConfig   `json:"links"`
	LinkTLS    *tlsConfig     `json:"link_tls"`
	Adopt      []adoptConfig  `json:"adopt"`
	Gateway    *gatewayConfig `json:"gateway"`
	// LameDuck is how long the node goes on when it is told to stop, and says that it is not ready. Default: none.
	LameDuck duration `json:"lame_duck"`
	// Drain is how long calls may run on after that. Default: 10s.
	Drain duration `json:"drain"`

	path string // of the file; empty where flags say it all
}

type groupConfig struct {
	Name    string   `json:"name"`
	Members []string `json:"members"`
	Bridged bool     `json:"bridged"`
}

type linkConfig struct {
	URL        string   `json:"url"`
	Namespaces []string `json:"namespaces"`
}

type adoptConfig struct {
	URL       string `json:"url"`
	Namespace string `json:"namespace"`
	// Protocol is grpc, grpcweb or connect.
	Protocol string `json:"protocol"`
	// Policy registers the functions as replicated: round-robin, random, least-pending or nearest.
	Policy string `json:"policy"`
	// DescriptorsFile is a descriptor set; default: the server's reflection.
	DescriptorsFile string   `json:"descriptors_file"`
	Services        []string `json:"services"`
	// HeaderFiles are files with the values of headers that are sent to the server, by their keys.
	HeaderFiles map[string]string `json:"header_files"`
	// NoCaller: the server is not told who calls.
	NoCaller bool       `json:"no_caller"`
	TLS      *tlsConfig `json:"tls"`
}

type gatewayConfig struct {
	// Namespace is that of calls which name none; Namespaces those that they may name.
	Namespace  string   `json:"namespace"`
	Namespaces []string `json:"namespaces"`
	// Open lets anyone call; else TokensFile says who may, by the hashes of their tokens.
	Open              bool     `json:"open"`
	TokensFile        string   `json:"tokens_file"`
	PassAuthorization bool     `json:"pass_authorization"`
	CORSOrigins       []string `json:"cors_origins"`
	// As in gateway.Config; an empty list of headers is none.
	Name        string    `json:"name"`
	DropHeaders *[]string `json:"drop_headers"`
	NameNodes   bool      `json:"name_nodes"`
	OpenHealth  bool      `json:"open_health"`
}

// token is an entry of the file with tokens, as rpcmesh token prints it.
type token struct {
	Name       string   `json:"name"`
	SHA256     string   `json:"sha256"`
	Namespaces []string `json:"namespaces"`
	Functions  string   `json:"functions,omitempty"`
}

// duration is a time.Duration in text, like "10s".
type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errors.New(`a duration is text like "10s"`)
	}
	v, err := time.ParseDuration(text)
	if err != nil || v <= 0 {
		return fmt.Errorf(`%q is no duration like "10s"`, text)
	}
	*d = duration(v)
	return nil
}

// node returns the configuration of the node itself.
func (c *config) node(t *terminal, log *slog.Logger) (rpcmesh.Config, error) {
	cfg := rpcmesh.Config{Name: c.Name, AcceptAnyone: c.AcceptAnyone, Logger: log, Addresses: c.Listen, Dial: dial}
	cfg.LameDuck = time.Duration(c.LameDuck)
	var err error
	if cfg.Secrets, err = c.secrets(t); err != nil {
		return cfg, err
	}
	if cfg.TLS, err = c.TLS.server(log); err != nil {
		return cfg, err
	}
	cfg.DialTLS, err = c.LinkTLS.client(log)
	return cfg, err
}

// secrets reads the secrets.
func (c *config) secrets(t *terminal) ([]string, error) {
	flags := secretFlags{file: c.SecretFile, anyone: c.AcceptAnyone}
	return flags.read(t)
}

// secretsAgain reads the secrets from where they are now: the file that c is from may name another one.
func (c *config) secretsAgain(t *terminal) ([]string, error) {
	now := *c
	if c.path != "" {
		now = config{}
		if err := decodeFile(c.path, &now); err != nil {
			return nil, err
		}
	}
	if now.AcceptAnyone != c.AcceptAnyone {
		return nil, usagef("whether the node accepts anyone changes only when it starts again")
	}
	return now.secrets(t)
}

// config returns the configuration of the adopted server.
func (c *adoptConfig) config(log *slog.Logger) (adopt.Config, error) {
	cfg := adopt.Config{Namespace: c.Namespace, Services: c.Services, Logger: log, Header: http.Header{}, NoCaller: c.NoCaller}
	var err error
	if c.Protocol != "" {
		if cfg.Protocol, err = adopt.ParseProtocol(c.Protocol); err != nil {
			return cfg, &usageError{err}
		}
	}
	if cfg.Policy, err = parsePolicy(c.Policy); err != nil {
		return cfg, err
	}
	if c.DescriptorsFile != "" {
		if cfg.Descriptors, err = readFile(c.DescriptorsFile, adopt.DefaultMaxDescriptors); err != nil {
			return cfg, err
		}
	}
	for key, path := range c.HeaderFiles {
		value, err := readSecret(path)
		if err != nil {
			return cfg, err
		}
		cfg.Header.Set(key, value)
	}
	cfg.TLS, err = c.TLS.client(log)
	return cfg, err
}

// config returns the configuration of the gateway, and its tokens where it has some.
func (c *gatewayConfig) config() (gateway.Config, *gateway.Tokens, error) {
	cfg := gateway.Config{
		Namespace: c.Namespace, Namespaces: c.Namespaces, Open: c.Open, PassAuthorization: c.PassAuthorization,
		Name: c.Name, NameNodes: c.NameNodes, OpenHealth: c.OpenHealth,
	}
	if c.DropHeaders != nil {
		cfg.DropHeaders = append([]string{}, *c.DropHeaders...)
	}
	if len(c.CORSOrigins) > 0 {
		cfg.CORS = &gateway.CORS{Origins: c.CORSOrigins}
	}
	switch {
	case c.Open && c.TokensFile != "":
		return cfg, nil, usagef("\"open\" contradicts \"tokens_file\": give one of them")
	case !c.Open && c.TokensFile == "":
		return cfg, nil, usagef("nothing says who may call: give \"tokens_file\", or \"open\" to let anyone")
	case c.Open:
		return cfg, nil, nil
	}
	tokens := new(gateway.Tokens)
	cfg.Tokens = tokens
	return cfg, tokens, c.read(tokens)
}

// read replaces tokens by those in the file.
func (c *gatewayConfig) read(tokens *gateway.Tokens) error {
	var file struct {
		Tokens []token `json:"tokens"`
	}
	if err := decodeFile(c.TokensFile, &file); err != nil {
		return err
	}
	list := make([]gateway.Token, len(file.Tokens))
	for i, t := range file.Tokens {
		list[i] = gateway.Token(t)
	}
	if err := tokens.Replace(list...); err != nil {
		return usagef("%s: %w", c.TokensFile, err)
	}
	return nil
}
