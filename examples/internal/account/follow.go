package account

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// Follow writes to w, until ctx ends, how the functions of calls come, go and change their route in ns.
// It makes each call when its function comes or has a new route.
func Follow(ctx context.Context, w io.Writer, ns *rpcmesh.Namespace, calls []Call) {
	known := map[string]string{} // route by procedure
	for e := range ns.Watch(ctx) {
		now := e.Time.Format(time.TimeOnly)
		for _, c := range calls {
			route := Route(ns, c.Procedure)
			switch {
			case route == known[c.Procedure]:
			case route != "":
				known[c.Procedure] = route
				fmt.Fprintf(w, "%s  + %s by %s: %s\n", now, c.Text, route, outcome(c.Do(ctx, ns)))
			case e.Kind == rpcmesh.FunctionRemoved && e.Procedure == c.Procedure:
				known[c.Procedure] = ""
				fmt.Fprintf(w, "%s  - %s of %s is gone%s\n", now, Short(c.Procedure), e.NodeName, because(e.Cause))
			}
		}
	}
}

func because(cause string) string {
	if cause == "" {
		return "" // its own node has withdrawn it
	}
	return ": " + cause
}

func outcome(result string, err error) string {
	if err != nil {
		return err.Error()
	}
	return result
}

// Short returns a procedure without its package: "B.Divide" for "/example.chain.v1.B/Divide".
func Short(procedure string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	return service[strings.LastIndexByte(service, '.')+1:] + "." + method
}

// Procedures returns the functions that calls call.
func Procedures(calls []Call) []string {
	procedures := make([]string, len(calls))
	for i, c := range calls {
		procedures[i] = c.Procedure
	}
	return procedures
}
