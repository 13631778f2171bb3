package gateway

import (
	"net/http"
	"strings"

	"connectrpc.com/connect/v2"
)

const (
	// namespaceHeader names a call's namespace, in its canonical form.
	namespaceHeader = "Rpcmesh-Namespace"
	// namespacePath is what a path begins with that names one.
	namespacePath = "/ns/"
	// maxProcedure bounds the length of what is looked up.
	maxProcedure = 1 << 10
)

// target is what a request is for.
type target struct {
	namespace string // "" for the gateway's own
	procedure string // "/pkg.Service/Method"
}

// parsePath takes /pkg.Service/Method and /ns/NAMESPACE/pkg.Service/Method apart. It reports false for
// every other path.
func parsePath(path string) (t target, ok bool) {
	if rest, named := strings.CutPrefix(path, namespacePath); named && strings.Count(path, "/") == 4 {
		t.namespace, _, _ = strings.Cut(rest, "/")
		if t.namespace == "" {
			return target{}, false
		}
		path = rest[len(t.namespace):]
	}
	service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || path[0] != '/' || service == "" || method == "" || strings.Contains(method, "/") || len(path) > maxProcedure {
		return target{}, false
	}
	t.procedure = path
	return t, true
}

// requestTarget returns what r is for: found is false where its path is none of a function's.
func requestTarget(r *http.Request) (t target, found bool, err error) {
	if r.URL.RawPath != "" {
		return target{}, false, nil // a slash that is escaped is none, and names need no escapes
	}
	if t, found = parsePath(r.URL.Path); !found {
		return target{}, false, nil
	}
	switch names := r.Header[namespaceHeader]; {
	case len(names) == 0:
	case len(names) > 1 || names[0] == "":
		return t, true, connect.NewError(connect.CodeInvalidArgument, "the header rpcmesh-namespace must be one name")
	case t.namespace != "" && t.namespace != names[0]:
		return t, true, connect.NewError(connect.CodeInvalidArgument,
			"the path and the header rpcmesh-namespace must not name two namespaces: leave one of them out")
	default:
		t.namespace = names[0]
	}
	return t, true, nil
}
