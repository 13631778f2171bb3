// Package adopt makes the functions of an existing gRPC or Connect server, in any language and without a
// changed line, functions of a mesh: a node registers them as its own and passes their calls on.
//
//	server, err := adopt.New(node, "http://127.0.0.1:50051", adopt.Config{Namespace: "public"})
//	...
//	defer server.Close()
//	err = server.Ready(ctx)
//
// What the server has is read from its gRPC reflection, v1 or v1alpha, or from a FileDescriptorSet as
// `buf build -o` and `protoc --include_imports -o` write it ([Config.Descriptors]). Its own reflection and
// health services are not adopted. Each service becomes one registration, so that what goes wrong with one
// leaves the others alone.
//
// Calls of all four kinds pass through as they are: the bytes of the messages, headers, trailers, errors
// with their details, what is left of the deadline, and the end of a call whichever side it comes from.
//
// # Who calls
//
// The server is told what a handler knows by [rpcmesh.CallerFrom], in headers: Rpcmesh-Caller-Id and
// Rpcmesh-Caller-Node, the id and the name of the member at which the call came into the mesh;
// Rpcmesh-Caller-Gateway, -Token and -Addr of one from outside; Rpcmesh-Caller-Proxy and -Addr of a proxy's. What is
// not printable ASCII, and %, is percent-encoded. What is not known is not there, and no caller can set a header
// that begins so. All that is true of a Caller is true of these. [Config.NoCaller] leaves them out.
//
// # When the server is there
//
// The functions are registered while the server is up and withdrawn while it is down, and come back by
// themselves. The server is up when it answers grpc.health.v1.Health/Check, be it that it has no such
// service; it is asked every [Config.ProbeInterval] and at once when a connection to it is lost or cannot be
// made. One that stops in order (grpc-go's GracefulStop, say) is let go at once: what follows its health leaves
// a connection on which it says GOAWAY, or, over TLS, where that is not seen, with the next call. Where it
// has the service, NOT_SERVING as the state of the whole server ("") withdraws everything, and as that of
// one service withdraws this one; Health/Watch tells of it at once where the server has that too. Each
// time the server comes back its schema is read again, and what has changed is registered anew.
//
// A function that another node of the mesh has registered stays that node's: this is logged, Ready says so,
// and the function is registered when the other goes.
//
// # What fails
//
// A call that cannot be passed on, or whose connection breaks, ends with unavailable and says how far it
// had come ([rpcmesh.FailureOf]). One that the server has certainly not begun with goes to another origin of
// its function where there is one, and one of unknown outcome where its method allows that. A server that is
// silent for [Config.ProbeTimeout] while it is asked for its health counts as down, and its connections are
// closed. What the server says is not trusted: its schema has limits ([Limits]) and must build, its messages
// have a length, and redirects are not followed.
package adopt
