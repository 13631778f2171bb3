package rpcmesh

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const (
	// minSecret is the shortest secret, in bytes, that links beyond the host may use.
	minSecret = 16
	// makeSecret says how to make a good secret.
	makeSecret = "make one that nobody can guess, say by: openssl rand -hex 16"
)

// secretList is the secrets that a node proves and accepts, the preferred one first.
type secretList [][]byte

// newSecretList makes the list of a Config or ProxyConfig.
func newSecretList(one string, many []string) (secretList, error) {
	if one != "" && len(many) > 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument,
			"rpcmesh: both Config.Secret and Config.Secrets: set one of them, Secrets with the preferred one first")
	}
	if one != "" {
		many = []string{one}
	}
	if len(many) > link.MaxSecrets {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: Config.Secrets has %d entries, and may have %d at most", len(many), link.MaxSecrets)
	}
	var list secretList
	for i, s := range many {
		if s == "" {
			return nil, connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: Config.Secrets[%d] must not be empty", i)
		}
		list = append(list, []byte(s))
	}
	return list, nil
}

// checkLengths refuses secrets that are too short for links beyond the host.
func (l secretList) checkLengths() error {
	for _, s := range l {
		if len(s) < minSecret {
			return connect.Errorf(connect.CodeInvalidArgument,
				"rpcmesh: a secret of %d bytes is for links within one host only: beyond, it takes %d or more; %s", len(s), minSecret, makeSecret)
		}
	}
	return nil
}

// stretch derives the keys of all secrets in advance, so that no link waits for that.
func (l secretList) stretch() {
	for _, s := range l {
		link.StretchSecret(s)
	}
}

// SetSecrets replaces [Config.Secrets], for links that come up from now on: those that are up stay. The
// first is preferred, all are accepted. It takes about a tenth of a second for each secret that the process
// has not had before. It fails with invalid_argument where [NewNode] would, or where a secret is too short
// and this node has links beyond its host, or listens for them; and with failed_precondition where the
// node was made without a secret. If it fails, the secrets stay as they are.
//
// To change the secret of a mesh without a failed call, give every node the new one besides the old one,
// then, when all have both, the new one alone.
func (n *Node) SetSecrets(secrets ...string) error {
	if len(*n.linker.secrets.Load()) == 0 {
		return connect.NewError(connect.CodeFailedPrecondition, "rpcmesh: this node was made to prove no secret: give NewNode one, and SetSecrets replaces it")
	}
	list, err := newSecretList("", secrets)
	if err == nil && len(list) == 0 {
		err = connect.NewError(connect.CodeInvalidArgument, "rpcmesh: no secret is given: SetSecrets must be given the new one")
	}
	if err == nil && n.linker.leavesHost.Load() {
		err = list.checkLengths()
	}
	if err != nil {
		return err
	}
	list.stretch()
	n.linker.secrets.Store(&list)
	return nil
}

// SetSecrets replaces [ProxyConfig.Secrets] as [Node.SetSecrets] does.
func (p *Proxy) SetSecrets(secrets ...string) error { return p.node.SetSecrets(secrets...) }

// checkAddress refuses an address beyond this host while a secret is too short for it.
func (l *linker) checkAddress(addr string) error {
	if !beyondHost(addr) {
		return nil
	}
	if err := l.secrets.Load().checkLengths(); err != nil {
		return err
	}
	l.leavesHost.Store(true)
	return nil
}

// beyondHost reports whether addr is an IP address other than loopback. Anything else is a socket within the host, or
// a connection within the process.
func beyondHost(addr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && !ap.Addr().Unmap().IsLoopback()
}

// onceWarnings is which warnings a node has logged.
type onceWarnings struct{ cleartext, oldProofs atomic.Bool }

// warnOfLink logs, once each, what a link lacks.
func (l *linker) warnOfLink(conn linkConn, remote string, peer link.Peer) {
	if conn.TLS() == nil && beyondHost(remote) && !l.warnings.cleartext.Swap(true) {
		l.log.Warn("a link that leaves this host is in cleartext: whoever is on its way can read and change what passes. "+
			"Set Config.TLS, and link to https URLs", attrPeer(peer), attrAddr(conn.Addr()))
	}
	if peer.OldProofs && len(*l.secrets.Load()) > 0 && !l.warnings.oldProofs.Swap(true) {
		l.log.Warn("a node of an older release proves the secret in a way that is quick to guess at: update it, "+
			"then unset Config.AcceptOldProofs", attrPeer(peer), attrAddr(conn.Addr()))
	}
}

// String describes the configuration without its secrets.
func (cfg Config) String() string {
	return fmt.Sprintf("rpcmesh.Config{Name: %q, Secrets: %s, Authenticate: %t, AcceptAnyone: %t, TLS: %t, Addresses: %q}",
		cfg.Name, countSecrets(cfg.Secret, cfg.Secrets), cfg.Authenticate != nil, cfg.AcceptAnyone, cfg.TLS != nil, cfg.Addresses)
}

// Format writes [Config.String], by whatever verb.
func (cfg Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, cfg.String()) }

// LogValue is [Config.String].
func (cfg Config) LogValue() slog.Value { return slog.StringValue(cfg.String()) }

// String describes the configuration without its secrets.
func (cfg ProxyConfig) String() string {
	return fmt.Sprintf("rpcmesh.ProxyConfig{Name: %q, Namespace: %q, Secrets: %s, AcceptAnyone: %t}",
		cfg.Name, cfg.Namespace, countSecrets(cfg.Secret, cfg.Secrets), cfg.AcceptAnyone)
}

// Format writes [ProxyConfig.String], by whatever verb.
func (cfg ProxyConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, cfg.String()) }

// LogValue is [ProxyConfig.String].
func (cfg ProxyConfig) LogValue() slog.Value { return slog.StringValue(cfg.String()) }

func countSecrets(one string, many []string) string {
	n := len(many)
	if one != "" {
		n++
	}
	return fmt.Sprintf("%d of them", n)
}
