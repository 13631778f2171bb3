// Package account writes down, for people to read, what an example does: which calls it makes, by which
// route, and what comes of them.
package account

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"text/tabwriter"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// Call is one call that an example makes.
type Call struct {
	// Text is how it reads: `A.Shout("hello")`.
	Text string
	// Procedure is the function that it calls.
	Procedure string
	// Do makes the call and says in words what came of it.
	Do func(ctx context.Context, t connect.Transport) (string, error)
}

// Caller is what a call is made through: a namespace, a group or a proxy.
type Caller interface {
	connect.Transport
	Functions() iter.Seq[rpcmesh.Function]
	Route(procedure string) []rpcmesh.Hop
	WaitFor(ctx context.Context, procedures ...string) error
	Watch(ctx context.Context) iter.Seq[rpcmesh.Event]
}

// Account is a text of headings, lines and columns. One goroutine at a time may use it.
type Account struct {
	columns *tabwriter.Writer
}

// New returns an account that is written to w. Nothing more is written once w has failed; [Account.End]
// tells.
func New(w io.Writer) *Account {
	return &Account{columns: tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)}
}

// Heading starts a part of the account.
func (a *Account) Heading(text string) {
	_ = a.columns.Flush() // an error stays: End returns it
	fmt.Fprintf(a.columns, "\n%s\n", text)
}

// Row adds a line of columns, which stand below those of the row before.
func (a *Account) Row(columns ...string) {
	fmt.Fprintf(a.columns, "  %s\n", strings.Join(columns, "\t"))
}

// Calls makes calls, one after the other, and writes each down with its route and its result. The first
// that fails is the last.
func (a *Account) Calls(ctx context.Context, from Caller, calls []Call) error {
	for _, c := range calls {
		result, err := c.Do(ctx, from)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Text, err)
		}
		a.Row(c.Text, Route(from, c.Procedure), result)
	}
	return nil
}

// Failure makes a call that is meant to fail, and writes down its route and its error. It is an error
// if the call succeeds.
func (a *Account) Failure(ctx context.Context, from Caller, c Call) error {
	result, err := c.Do(ctx, from)
	if err == nil {
		return fmt.Errorf("%s was meant to fail and returned %s", c.Text, result)
	}
	route := Route(from, c.Procedure)
	if route == "" {
		route = "no route"
	}
	a.Row(c.Text, route, err.Error())
	return nil
}

// End writes what is left to be written and returns the first error of writing.
func (a *Account) End() error { return a.columns.Flush() }

// Route returns the names of the nodes that a call passes as things stand, with arrows between: "" if
// the function cannot be called.
func Route(from Caller, procedure string) string {
	var names []string
	for _, hop := range from.Route(procedure) {
		names = append(names, cmp.Or(hop.Name, "(leaving)"))
	}
	if _, ok := from.(*rpcmesh.Proxy); ok && names != nil {
		names[0] = "proxy" // its name is made up anew each time
	}
	return strings.Join(names, " -> ")
}
