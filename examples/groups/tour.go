package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// run starts the company and writes to w who sees and calls what.
func run(ctx context.Context, w io.Writer) (err error) {
	nodes, err := start(ctx)
	defer nodes.close()
	if err != nil {
		return err
	}
	proxy, err := rpcmesh.Dial(ctx, nodes["A"].URL, rpcmesh.ProxyConfig{Namespace: "all", Secret: secret})
	if err != nil {
		return err
	}
	defer proxy.Close()
	t := &tour{Account: account.New(w), nodes: nodes, proxy: proxy}
	for _, part := range []func(context.Context) error{
		t.sights, t.oneForAll, t.closed, t.allForOne, t.failover,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return t.End()
}

// tour is the account and what it is of.
type tour struct {
	*account.Account
	nodes company
	proxy *rpcmesh.Proxy
}

func (t *tour) at(node, namespace string) *rpcmesh.Namespace {
	return t.nodes[node].Namespace(namespace)
}

// ends are the far ends of the three namespaces.
var ends = []struct{ node, namespace string }{{"C", "public"}, {"F", "private"}, {"H", "open"}}

// sights writes down which functions each sees.
func (t *tour) sights(ctx context.Context) error {
	for _, want := range []struct {
		at    account.Caller
		calls []account.Call
	}{
		{t.at("C", "public"), []account.Call{latest, today, find, question}},
		{t.at("F", "private"), []account.Call{latest, look, find, question}},
		{t.at("H", "open"), []account.Call{latest, topics, question}},
		{t.at("A", "all"), everything},
		{t.at("X", "all"), everything},
		{t.proxy, everything},
	} {
		if err := want.at.WaitFor(ctx, account.Procedures(want.calls)...); err != nil {
			return err
		}
	}
	t.Heading("Who sees what")
	for _, end := range ends {
		t.Row(end.node+" in "+end.namespace, names(t.at(end.node, end.namespace)))
	}
	t.Row("A in all", names(t.at("A", "all")))
	t.Row("X in all", names(t.at("X", "all")))
	t.Row("a proxy in all", names(t.proxy))
	return nil
}

// oneForAll calls what is registered on the group from each of its members.
func (t *tour) oneForAll(ctx context.Context) error {
	t.Heading("What A registers on the group, and X on a link that carries it, is in every member")
	for _, end := range ends {
		if err := t.Calls(ctx, t.at(end.node, end.namespace), []account.Call{latest, question}); err != nil {
			return err
		}
	}
	return nil
}

// closed shows that members stay closed to each other.
func (t *tour) closed(ctx context.Context) error {
	t.Heading("What is private is not public")
	if err := t.Failure(ctx, t.at("C", "public"), look); err != nil {
		return err
	}
	_, err := look.Do(ctx, t.at("C", "public"))
	if code := connect.CodeOf(err); code != connect.CodeUnimplemented {
		return fmt.Errorf("%s from public has the code %s: %w", look.Text, code, err)
	}
	return nil
}

// allForOne calls everything from two places outside.
func (t *tour) allForOne(ctx context.Context) error {
	t.Heading("A node that is linked to the group, and a proxy, call everything")
	if err := t.Calls(ctx, t.at("X", "all"), everything); err != nil {
		return err
	}
	return t.Calls(ctx, t.proxy, everything)
}

// failover calls a function of two members while the first is there, gone, and back.
func (t *tour) failover(ctx context.Context) error {
	t.Heading("Search is in public at C and in private at F: the first member that has it serves")
	if err := t.search(ctx, "C is there", "public index"); err != nil {
		return err
	}
	if err := t.nodes["C"].Close(); err != nil {
		return err
	}
	if err := t.search(ctx, "C is gone", "private index"); err != nil {
		return err
	}
	if err := t.nodes.add("C"); err != nil {
		return err
	}
	if err := t.nodes.register("C"); err != nil {
		return err
	}
	if err := t.nodes.link(ctx, "C", "B", "public"); err != nil {
		return err
	}
	return t.search(ctx, "C is back", "public index")
}

// search calls Search from A and through the proxy, once the index that serves is the wanted one.
func (t *tour) search(ctx context.Context, when, index string) error {
	for _, from := range []account.Caller{t.at("A", "all"), t.proxy} {
		result := ""
		for range from.Watch(ctx) {
			var err error
			if result, err = find.Do(ctx, from); err != nil {
				return fmt.Errorf("%s calls %s: %w", when, find.Text, err)
			}
			if strings.HasPrefix(result, index) {
				break
			}
		}
		t.Row(when, account.Route(from, find.Procedure), result)
	}
	return ctx.Err()
}

// names lists the functions that can be called.
func names(from account.Caller) string {
	var all []string
	for f := range from.Functions() {
		if !f.Shadowed {
			all = append(all, account.Short(f.Procedure))
		}
	}
	return strings.Join(slices.Compact(all), ", ")
}
