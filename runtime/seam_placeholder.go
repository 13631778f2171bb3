package rpcmesh

import "connectrpc.com/connect/v2"

// Origin stands in for the runtime's own until it lands.
type Origin struct{}

// Registrar stands in for the runtime's own until it lands.
type Registrar interface {
	Register(methods ...connect.Method) (*Origin, error)
}
