// Package grpc has what unary calls need of gRPC over HTTP/2
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): the prefix of a message, the timeout of a
// call and the status at its end. Everything is a plain function, and may be called concurrently.
package grpc
