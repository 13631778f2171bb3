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
package rpcmesh
