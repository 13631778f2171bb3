package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// maxTokens bounds a list of tokens.
const maxTokens = 1024

// Token is a token that callers may have, known by its hash.
type Token struct {
	// Name is for people: errors and configurations tell tokens apart by it, and functions know it, see
	// [rpcmesh.Caller]. Required.
	Name string
	// SHA256 is the hash of the token, 64 hexadecimal digits; see [HashToken]. A token should be random,
	// of 16 bytes or more: what can be guessed can be found by its hash.
	SHA256 string
	// Namespaces are those in which it may be used. At least one.
	Namespaces []string
	// Functions is what procedures begin with that it may be used for: "/pkg.Service/" for one service,
	// "/pkg.Service/Method" for a method and those that begin with its name. Default: all.
	Functions string
}

// HashToken returns [Token.SHA256] of token.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Tokens is a set of tokens that can be replaced while it is used. Its methods may be called
// concurrently. The zero value has none and admits nobody.
type Tokens struct{ known atomic.Pointer[[]grant] }

type grant struct {
	Token
	hash [sha256.Size]byte
}

// NewTokens returns the set of list; see [Tokens.Replace].
func NewTokens(list ...Token) (*Tokens, error) {
	t := new(Tokens)
	if err := t.Replace(list...); err != nil {
		return nil, err
	}
	return t, nil
}

// Replace makes list the whole set, of 1024 tokens at most. A token that is not in it is revoked: calls
// that run with it go on, new ones are refused. Where list has a mistake it fails with invalid_argument,
// and the set stays as it is.
func (t *Tokens) Replace(list ...Token) error {
	if len(list) > maxTokens {
		return connect.Errorf(connect.CodeInvalidArgument, "gateway: the list may have %d tokens at most, and has %d", maxTokens, len(list))
	}
	grants := make([]grant, len(list))
	for i, token := range list {
		hash, err := hex.DecodeString(token.SHA256)
		switch {
		case token.Name == "":
			return connect.Errorf(connect.CodeInvalidArgument, "gateway: token %d of the list has no name: set Name, by which errors call it", i+1)
		case err != nil || len(hash) != sha256.Size:
			return connect.Errorf(connect.CodeInvalidArgument, "gateway: token %q: SHA256 must be 64 hexadecimal digits", token.Name)
		case len(token.Namespaces) == 0:
			return connect.Errorf(connect.CodeInvalidArgument, "gateway: token %q: Namespaces must be given, those in which it may be used", token.Name)
		case token.Functions != "" && token.Functions[0] != '/':
			return connect.Errorf(connect.CodeInvalidArgument, `gateway: token %q: Functions must begin with "/", like /pkg.Service/`, token.Name)
		}
		for _, name := range token.Namespaces {
			if err := rpcmesh.CheckNamespace(name); err != nil {
				return errorInField(fmt.Sprintf("gateway: token %q: Namespaces", token.Name), err)
			}
		}
		token.Namespaces = slices.Clone(token.Namespaces)
		grants[i] = grant{Token: token, hash: [sha256.Size]byte(hash)}
	}
	t.known.Store(&grants)
	return nil
}

// Authorize is a [Config.Authorize] that admits those whose token is in the set and may be used for the
// function. It fails with unauthenticated for no token or one that is not known, and with
// permission_denied for one that is for other functions. How long it takes does not tell how near a
// guess was.
func (t *Tokens) Authorize(_ context.Context, c Caller) error {
	_, err := t.authorize(c)
	return err
}

// authorize is Authorize. It also returns the token's entry.
func (t *Tokens) authorize(c Caller) (*grant, error) {
	if c.Token == "" {
		return nil, connect.NewError(connect.CodeUnauthenticated, "the call must be given a header Authorization: Bearer TOKEN")
	}
	g := t.find(c.Token)
	switch {
	case g == nil:
		return nil, connect.NewError(connect.CodeUnauthenticated, "the token is not known, or was revoked: ask for another one")
	case !slices.Contains(g.Namespaces, c.Namespace):
		return nil, connect.Errorf(connect.CodePermissionDenied, "the token %q is not for the namespace %.64q: use one that is", g.Name, c.Namespace)
	case !strings.HasPrefix(c.Procedure, g.Functions):
		return nil, connect.Errorf(connect.CodePermissionDenied, "the token %q is not for this function: use one that is", g.Name)
	}
	return g, nil
}

// find compares with every token, even after a match, so that its duration reveals nothing.
func (t *Tokens) find(token string) (found *grant) {
	known := t.known.Load()
	if known == nil {
		return nil
	}
	hash := sha256.Sum256([]byte(token))
	for i := range *known {
		g := &(*known)[i]
		if subtle.ConstantTimeCompare(hash[:], g.hash[:]) == 1 {
			found = g
		}
	}
	return found
}
