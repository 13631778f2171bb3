// This file has no code: it is the glossary of the package's insides, for those who change them.
//
// Parts of a [Node], each of which knows only those before it:
//
//	identity            who the node is: id, name, key, and the errors that carry its name
//	lifetime            how long the node lives; its goroutines, and how far it is with shutting down
//	linkSet             the links that the node dials, and those that are still exchanging tables
//	table               what is known of the namespaces: the routing core under a lock, and its snapshots
//	origins             the functions of this node, and the calls that run in them
//	router              where calls go that come in over a link
//	linker              brings links up: handshake, authentication, secrets
//	schemaStore         the schemas of this node's functions, and those fetched from others
//	schemaComparisons   whether the schema of a replica fits that of the first origin
//	calls               makes calls: routes, retries, waits
//	server              listeners, HTTP and connections
//
// Words:
//
//	snapshot        an immutable view of the table; calls read it without a lock
//	session         one link that is up; a [Link] has one after the other
//	target          where the table says that a function's origin is
//	route           a target, and the snapshot that named it
//	attempt         one try of a call, over one link or at a function of this node
//	replay          to send an attempt what earlier attempts were sent
//	fast path       a unary call in one go, by a route that is kept until the table or the links change
//	certainty       whether the handler of a failed call may have begun: not started, unknown or started
//	release         to take a call off all counts and lists; it may still have to be received to its end
//	hold time       the pause between two computations of routes, which grows while changes go on (RFC 8405)
//	dirty           a link to which there may be table changes to send
//	syncing         a link that is up, but whose first table has not come yet
//	lame duck       the time in which a node says that it is not ready, and goes on as before
//	external        of callers outside the mesh, over HTTP

package rpcmesh
