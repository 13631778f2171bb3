package mesh

import (
	"fmt"
	"strings"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

const (
	maxNamespace = 64
	maxProcedure = 512
	maxVersion   = 1 << 62 // of records and incarnations
	keyBytes     = 32      // of a node's public key: Ed25519
)

// CheckNamespace checks the name of a namespace or group: 1 to 64 lower-case letters, digits and "._-" of
// ASCII, starting with a letter or digit. The error is a *NameError.
func CheckNamespace(name string) error {
	if err := checkForeign(name); err != nil {
		return err
	}
	if lower := strings.ToLower(name); lower != name {
		return &NameError{What: "namespace", Name: name, Reason: fmt.Sprintf("has capital letters: call it %q everywhere", lower)}
	}
	return nil
}

// checkForeign is CheckNamespace for the names of others, which nodes of older releases may have with capitals.
func checkForeign(name string) error {
	bad := func(reason string) error { return &NameError{What: "namespace", Name: clip(name), Reason: reason} }
	switch {
	case name == "":
		return bad("must not be empty")
	case len(name) > maxNamespace:
		return bad("must not be longer than 64 bytes")
	case !alphanumeric(name[0]):
		return bad("must start with a lower-case letter or digit")
	}
	for i := range len(name) {
		if b := name[i]; !alphanumeric(b) && b != '.' && b != '_' && b != '-' {
			return bad("may have lower-case letters, digits, '.', '_' and '-' only")
		}
	}
	return nil
}

// CheckProcedure checks the name of a function: "/pkg.Service/Method", at most 512 bytes. The error
// is a *NameError.
func CheckProcedure(name string) error {
	bad := func(reason string) error { return &NameError{What: "procedure", Name: clip(name), Reason: reason} }
	if len(name) > maxProcedure {
		return bad("must not be longer than 512 bytes")
	}
	rest, ok := strings.CutPrefix(name, "/")
	if !ok {
		return bad("must be of the form /pkg.Service/Method")
	}
	service, method, ok := strings.Cut(rest, "/")
	if !ok || !identifier(method) {
		return bad("must be of the form /pkg.Service/Method")
	}
	for part := range strings.SplitSeq(service, ".") {
		if !identifier(part) {
			return bad("must be of the form /pkg.Service/Method")
		}
	}
	return nil
}

// identifier reports whether s is one in protobuf's sense.
func identifier(s string) bool {
	if s == "" || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '_' {
			return false
		}
	}
	return true
}

func alphanumeric(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

// clip shortens what goes into an error.
func clip(s string) string {
	if len(s) > maxNamespace {
		return s[:maxNamespace] + "..."
	}
	return s
}

// checkInfo checks a node's description of itself against the bounds.
func checkInfo(info *linkv1.NodeInfo, l Limits) error {
	switch {
	case len(info.GetAddresses()) > l.Addresses:
		return &LimitError{What: "addresses of one node", Limit: l.Addresses}
	case len(info.GetMetadata()) > l.Metadata:
		return &LimitError{What: "entries of metadata of one node", Limit: l.Metadata}
	}
	size := len(info.GetName()) + len(info.GetVersion())
	for _, a := range info.GetAddresses() {
		size += len(a)
	}
	for k, v := range info.GetMetadata() {
		size += len(k) + len(v)
	}
	if size > l.InfoBytes {
		return &LimitError{What: "bytes of info of one node", Limit: l.InfoBytes}
	}
	return nil
}
