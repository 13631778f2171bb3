// Package rpcmesh is the runtime of a mesh of typed RPC servers. A [Node] registers the functions of
// generated servers as origins in a [Namespace], links to other nodes, and calls generated clients on
// any function that its namespaces reach, over any graph of links.
//
//	node, err := rpcmesh.NewNode(rpcmesh.Config{Name: "a", Secret: secret})
//	...
//	_, err = greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), greeter{})
//	go node.Serve(ctx, listener)
//
//	// at another node
//	link, err := node.Link("http://host:8220", "public")
//	...
//	client := greetv1rpcmesh.NewGreeterClient(node.Namespace("public"))
//	res, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "Ada"})
//
// A [Proxy] calls without being a member.
//
// Calls follow Connect: headers, trailers, error codes and details arrive as sent, over however many
// nodes. Deadlines travel as the time that is left. Whoever lets go of a call, caller, handler's node
// or a link between, ends it at both ends at once. Each direction of each call has a window on each
// link ([Limits]), so a slow reader holds up its own sender and nothing else.
//
// Errors are *connect.Error. Those that the mesh, not a handler, ended a call with say how far it had
// come: see [FailureOf].
//
// # Who calls
//
// [CallerFrom] tells handlers and interceptors who made their call: the node, or the gateway, token and address by
// which it came in from outside. [Caller] says what of that can be relied on, and prints itself in logs (it is a
// [slog.LogValuer]). Headers are the caller's own words: those of callers outside pass a gateway, which drops some.
//
// # Retries
//
// The node that makes a call tries it again by itself, within its deadline and ten times in all, where that
// is safe: nothing of the response has come, of the request no more than 64 KiB or its one message has been
// sent, and
//
//   - the mesh lost the call before its handler began: its node withdrew the function or is leaving, or a
//     link on the way is gone and had not passed it on;
//   - or its handler says so ([NotStarted]); then at another origin only;
//   - or it may have begun, and the method's idempotency_level allows to repeat it.
//
// Origins that have not been tried come first. What any node refuses because it has too many calls
// (resource_exhausted) is told at once: trying it again would add to the load.
//
// A budget bounds the retries of a node: a fifth of the calls that it made in the last ten seconds, and ten
// a second more. What takes nothing from it are calls that the mesh lost before they began and that have
// somewhere new to go, another origin or another way by a newer table: they take the place of what they
// repeat, no handler sees more calls for them, and each restart in a mesh makes a burst of them, of which
// none is to be lost. Once the budget is used up, the failure is told as it is.
package rpcmesh
