// Package rawcall is how the packages beside package rpcmesh reach what its users do not: calls whose messages stay
// encoded, for gateways and adapters, and the short cuts of generated clients. Package rpcmesh sets the function
// variables when it is initialised; who has one of its values can call them.
//
// A [Message] stands wherever a stream of package rpcmesh takes a message. A [Call] is a unary call whose caller does
// not wait, and a [Caller] begins such calls.
package rawcall
