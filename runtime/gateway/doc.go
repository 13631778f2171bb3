// Package gateway lets callers from outside into the mesh: whoever speaks Connect, gRPC or gRPC-Web, in
// any language, or plain HTTP with JSON, calls any function of a namespace through any node. The node
// needs no code for the function, and the function's origin sees a call like any other.
//
//	tokens, err := gateway.NewTokens(gateway.Token{
//		Name: "ci", SHA256: "9f86d0…", Namespaces: []string{"public"},
//	})
//	...
//	err = gateway.Mount(node, gateway.Config{Namespace: "public", Tokens: tokens})
//	...
//	err = node.Serve(ctx, listener) // links and callers on one port
//
// Any HTTP server can have it as well: [New] returns a handler.
//
// # What is called
//
// A function is called at /pkg.Service/Method, the path that the protocols give it, by the method POST; by
// Connect's GET, too, if it is unary and registered as without side effects. Its namespace comes from
//
//  1. the path: with the base URL http://host/ns/public, say, every client calls
//     /ns/public/pkg.Service/Method;
//  2. the header rpcmesh-namespace;
//  3. [Config.Namespace].
//
// Only the namespaces of the Config can be named, and a call never makes the node join one.
//
// # What arrives
//
// All three protocols of Connect (https://connectrpc.com/docs/protocol), the codecs proto and json, gzip,
// HTTP/1.1 and HTTP/2, and gRPC-Web's text format; bidirectional streams need HTTP/2. Binary messages pass through untouched, message
// by message: no more than one is held in each direction of a call, so that a slow end slows the other.
// JSON is turned into messages and back here, by the schema that the origin registered the function with;
// without one there is no JSON, and the call fails with not_found. An Any may hold what any schema of the
// namespace defines.
//
// Headers and trailers arrive, in both directions, but for those of the connection, of the message's
// encoding, of the protocols and of CORS; User-Agent arrives. The headers of a stream of responses arrive when
// its handler sends them. Codes, messages and details of a function's errors arrive as they were sent.
//
// What a caller sends is his own word, and reaches functions that are used to what members say. So these of his
// headers end at the gateway, whichever protocol they come by: Authorization, unless [Config.PassAuthorization] lets
// it pass; all that begin with Rpcmesh-, which are the mesh's; and those of [Config.DropHeaders], by which proxies,
// sign-on gates and browsers tell servers who calls, see [DefaultDropHeaders]. A name with _ for - counts as with -, as some servers
// take it. The trailers of a request end here, too. Functions learn from [rpcmesh.CallerFrom] by which gateway, token
// and address a call came in; with a Config.Authorize of your own, the token has no name.
//
// # What callers are told
//
// A call that the mesh itself refuses or loses fails by the code that the mesh gives it, with rpcmesh.v1.CallFailure
// as a detail where that says whether it may have been begun, and google.rpc.ErrorInfo for the reason where there is
// one. The text is the gateway's, and names no node, link or address; nor does a detail. [Config.NameNodes] has all
// of it arrive as the mesh says it. The node's log has it in any case where it says that something is wrong.
//
// A call's timeout goes along, and ends it everywhere; one without gets that of the node's calls,
// [rpcmesh.Config.CallTimeout]. When the caller cancels or its connection breaks, the handler's context
// ends.
//
// # What the gateway tells
//
// In each of its namespaces the gateway answers itself for gRPC's server reflection
// (grpc.reflection.v1.ServerReflection and its v1alpha), which describes every function of the namespace,
// and for grpc.health.v1.Health, by which a service serves while any of its functions can be called. Both
// are calls like others: who may call a procedure of theirs may ask. [Config.NoReflection] and
// [Config.NoHealth] turn them off, and [Config.OpenHealth] lets the probes of orchestrators in, which have no token.
//
// # When the node stops
//
// As soon as [rpcmesh.Node.Shutdown] is called, every service is NOT_SERVING, and the node itself; calls go on for
// [rpcmesh.Config.LameDuck]. Then callers are told to use other connections, those of the gateway's own streams have
// theirs ended, and what still comes is refused: with unavailable, and a CallFailure that says that it has not
// started, in every protocol. Where [rpcmesh.Node.Serve] serves the gateway, connections are ended in order; a server
// of your own should be shut down when [rpcmesh.Node.Draining] is closed. Calls that outlast Shutdown end with
// unavailable.
//
// # Who may call
//
// Nobody may unless the Config says so: by [Tokens], a check of the header Authorization: Bearer against a
// list of hashed tokens, by Authorize, a check of your own, or by Open. It is made before anything is looked
// up, so who has no token learns nothing. Tokens travel in the clear where TLS does not cover them.
//
// # What it costs
//
// Where [rpcmesh.Node.Serve] serves a gateway that [Mount] has added, over HTTP/2, a unary gRPC call needs no
// goroutine but its handler's: it goes from the reader of its connection into the mesh, and back from the
// reader of a link. That holds for calls that come whole, with 8 MiB at most that are not compressed, and are
// admitted by Tokens or Open, since an Authorize of your own might wait. All other calls have a goroutine,
// and answer the same.
//
// # Limits
//
// A request's message is as long as [Config.MaxMessage] at most, unpacked as well as packed, a response's as
// [rpcmesh.Limits.MaxMessage], and the headers as long as those of a call in the mesh. The one request of a call
// must have come within a minute. A response in JSON can be many times as long as the message that it spells:
// [Config.MaxJSON] bounds it, and the memory that JSON takes. [Config.MaxCalls] bounds the calls under way, and
// [Config.MaxCallsPerCaller] those of one caller; what the server bounds (connections, the size of all headers, the
// time that they may take) is the server's.
package gateway

// Words of the package's insides:
//
//	target          what a request calls: a namespace and a procedure
//	built-in        of the gateway's own services: health and reflection
//	buffered call   a short unary gRPC call that the node's HTTP/2 server hands over complete, without a goroutine
//	client          whose calls are counted together: the holders of one token, or one address
//	public error    an error of the mesh in the form that callers outside see
//	memory budget   what all conversions to JSON and back may take at once
