package gateway

import (
	"fmt"
	"net/http"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
)

// handlers implement the protocols: one handler for each stream type, with and without side effects. They do not
// depend on the function's name.
type handlers [connect.StreamTypeBidi + 1][2]http.Handler

func newHandlers(call connect.ServerFunc, options []connecthttp.Option) (all handlers) {
	server := connect.NewServer()
	name := func(kind connect.StreamType, free int) string { return fmt.Sprintf("/gateway/%v%d", kind, free) }
	for kind := range connect.StreamTypeBidi + 1 {
		for free, level := range []connect.IdempotencyLevel{connect.IdempotencyUnknown, connect.IdempotencyNoSideEffects} {
			server.Register(connect.Method{
				Spec:    connect.Spec{Procedure: name(kind, free), StreamType: kind, IdempotencyLevel: level},
				Handler: call,
			})
		}
	}
	mounted := collector{}
	connecthttp.Mount(mounted, server, options...)
	for kind := range all {
		for free := range all[kind] {
			all[kind][free] = mounted[name(connect.StreamType(kind), free)]
		}
	}
	return all
}

// of returns the handler for functions of spec.
func (h *handlers) of(spec connect.Spec) http.Handler {
	free := 0
	if spec.IdempotencyLevel == connect.IdempotencyNoSideEffects {
		free = 1
	}
	return h[spec.StreamType&connect.StreamTypeBidi][free]
}

// collector records the handlers that are mounted on it.
type collector map[string]http.Handler

func (c collector) Handle(pattern string, handler http.Handler) { c[pattern] = handler }
