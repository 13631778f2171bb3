// Package rpcmeshtest runs clusters of rpcmesh nodes in one process, for tests. The nodes are real
// ones; their links run over a [Network] in memory whose faults the test chooses. Nothing here needs a
// socket or waits by the clock, so a cluster works inside [testing/synctest] as well as outside.
//
//	c := rpcmeshtest.New(t)
//	a := c.Node("a")
//	greetv1rpcmesh.RegisterGreeterOrigin(a.Namespace("public"), greeter{})
//	c.Link("b", "a", "public")
//	client := greetv1rpcmesh.NewGreeterClient(c.Node("b").Namespace("public"))
//	...
//	c.Silence("a", "b")  // the link's keepalive finds out
//	c.Heal("a", "b")     // and the next dialling succeeds
//	c.Restart("a")
//
// The end of the test closes everything. It fails if a node has left a connection open.
package rpcmeshtest

// Words of the package's insides:
//
//	path       two hosts, in either direction
//	fault      what is wrong with a path
//	stream     one direction of a connection
//	arrival    bytes, or the end of a stream, that were sent and arrive later
