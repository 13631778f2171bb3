package account

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// Follow writes to w, until ctx ends, which functions of calls come and go in ns, and makes each call
// when its function comes.
func Follow(ctx context.Context, w io.Writer, ns *rpcmesh.Namespace, calls []Call) {
	for e := range ns.Watch(ctx) {
		switch e.Kind {
		case rpcmesh.FunctionAdded:
			i := slices.IndexFunc(calls, func(c Call) bool { return c.Procedure == e.Procedure })
			if i >= 0 {
				fmt.Fprintf(w, "%s  + %s\n", e.Time.Format("15:04:05"), once(ctx, ns, calls[i]))
			}
		case rpcmesh.FunctionRemoved:
			fmt.Fprintf(w, "%s  - %s of %s: %s\n", e.Time.Format("15:04:05"), Short(e.Procedure), e.NodeName, e.Cause)
		}
	}
}

func once(ctx context.Context, from Caller, c Call) string {
	result, err := c.Do(ctx, from)
	if err != nil {
		result = err.Error()
	}
	return fmt.Sprintf("%s by %s: %s", c.Text, Route(from, c.Procedure), result)
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
