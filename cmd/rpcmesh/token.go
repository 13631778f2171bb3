package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

const aboutNewCaller = `

Prints a new random token, for the caller, and on a second line its entry for the file with tokens of a
node's gateway, which knows it by its hash only. Calls carry it in the header
Authorization, behind the word Bearer.

  rpcmesh token -name build -namespaces public
`

func runToken(_ context.Context, args []string, t *terminal) error {
	entry := token{Namespaces: []string{}}
	f := newFlags(t, "token", aboutNewCaller)
	f.StringVar(&entry.Name, "name", "", "whose it is: a `name` for people")
	f.Var((*list)(&entry.Namespaces), "namespaces", "`namespaces` in which it may be used, with commas between; default: "+rpcmesh.DefaultNamespace)
	f.StringVar(&entry.Functions, "functions", "", "what procedures `begin` with that it is for, like /pkg.Service/; default: all")
	if err := f.parse(args, 0, 0); err != nil {
		return err
	}
	if entry.Name == "" {
		return usagef("-name is missing: give whose token it is")
	}
	if len(entry.Namespaces) == 0 {
		entry.Namespaces = []string{rpcmesh.DefaultNamespace}
	}
	secret := rand.Text() + rand.Text()
	entry.SHA256 = gateway.HashToken(secret)
	if _, err := gateway.NewTokens(gateway.Token(entry)); err != nil {
		return &usageError{err}
	}
	line, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s\n%s\n", secret, line)
	return err
}
