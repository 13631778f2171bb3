package gateway

import (
	"net/textproto"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http/httpguts"
)

const (
	// meshPrefix is the prefix of the mesh's own headers. Those of callers are always dropped.
	meshPrefix = "Rpcmesh-"
	// maxDropHeaders bounds [Config.DropHeaders].
	maxDropHeaders = 256
)

// DefaultDropHeaders returns the default of [Config.DropHeaders]: by these, browsers, proxies and sign-on gates tell a
// server behind them who calls and from where. Functions that trust such a header among members, or as an adopted server
// did behind its proxy, are not to be told by a caller himself.
func DefaultDropHeaders() []string {
	return []string{
		"Cookie",
		"Forwarded", "Via", "X-Forwarded-*", "X-Original-*", "X-Rewrite-Url",
		"X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-*", "Fastly-Client-Ip", "X-Envoy-*", "X-Azure-*",
		"X-User", "X-User-Id", "X-User-Name", "X-User-Email", "X-User-Groups", "X-User-Roles", "X-Username",
		"X-Email", "X-Groups", "X-Roles", "X-Tenant", "X-Tenant-Id",
		"Remote-*", "X-Remote-*", "X-Auth-*", "X-Authenticated-*", "X-Webauth-*", "X-Consumer-*", "X-Credential-*",
		"X-Goog-Authenticated-User-*", "X-Goog-Iap-*", "X-Amzn-Oidc-*", "X-Ms-Client-Principal*", "Tailscale-*",
		"Ssl-Client-*", "X-Ssl-*", "X-Client-Cert*", "X-Client-Dn", "Client-Cert*",
	}
}

// headerSet is an immutable set of headers, by name and by prefix.
type headerSet struct {
	names    map[string]bool // canonical
	prefixes []string        // in lower case
}

func newHeaderSet(patterns []string) (*headerSet, error) {
	if len(patterns) > maxDropHeaders {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "gateway: Config.DropHeaders has more than %d entries", maxDropHeaders)
	}
	s := &headerSet{names: map[string]bool{}, prefixes: []string{strings.ToLower(meshPrefix)}}
	for _, p := range patterns {
		prefix, many := strings.CutSuffix(p, "*")
		switch {
		case !httpguts.ValidHeaderFieldName(prefix) || strings.Contains(prefix, "*"):
			return nil, connect.Errorf(connect.CodeInvalidArgument,
				"gateway: Config.DropHeaders has %.100q: an entry is a header's name, or what names begin with and *", p)
		case many:
			s.prefixes = append(s.prefixes, hyphenated(strings.ToLower(prefix)))
		default:
			s.names[textproto.CanonicalMIMEHeaderKey(hyphenated(prefix))] = true
		}
	}
	return s, nil
}

// has reports whether a header, by its canonical key, is in the set. Since some servers treat _ like -, so does it.
func (s *headerSet) has(key string) bool {
	if strings.IndexByte(key, '_') >= 0 {
		key = textproto.CanonicalMIMEHeaderKey(hyphenated(key))
	}
	return s.names[key] || slices.ContainsFunc(s.prefixes, func(prefix string) bool {
		return len(key) >= len(prefix) && strings.EqualFold(key[:len(prefix)], prefix)
	})
}

func hyphenated(name string) string { return strings.ReplaceAll(name, "_", "-") }
