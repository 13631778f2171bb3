// Package stub is what the code of protoc-gen-rpcmesh-go stands on: the streams that generated servers and clients
// have, the registration of a server's methods, and the calls of a client. Programs use generated code, not this
// package; of what it exports they meet the stream types, by the names that generated code gives them.
//
// A method is described by a [MethodSpec]. [RegisterService] binds the methods of a server, each made by [UnaryMethod],
// [ServerStreamMethod], [ClientStreamMethod] or [BidiStreamMethod]; a [Client] calls them by [CallUnary],
// [CallServerStream], [CallClientStream] and [CallBidiStream].
package stub
