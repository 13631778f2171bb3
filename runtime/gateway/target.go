package gateway

import (
	"net/http"
	"strings"

	"connectrpc.com/connect/v2"
)

const (
	// namespaceHeader is the canonical form of the header that names a call's namespace.
	namespaceHeader = "Rpcmesh-Namespace"
	// namespacePath is the prefix of paths that name a namespace.
	namespacePath = "/ns/"
	// maxProcedure bounds the length of a procedure that is looked up, in bytes.
	maxProcedure = 1 << 10
)

// target is what a request calls.
type target struct {
	namespace string // "" the gateway's default
	procedure string // "/pkg.Service/Method"
}

// parsePath splits /pkg.Service/Method and /ns/NAMESPACE/pkg.Service/Method. It reports false for any other path.
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

// requestTarget returns what r calls. found is false where its path is not that of a function.
func requestTarget(r *http.Request) (t target, found bool, err error) {
	if r.URL.RawPath != "" {
		return target{}, false, nil // an escaped slash is not a separator, and names need no escapes
	}
	t, found = parsePath(r.URL.Path)
	if !found {
		return target{}, false, nil
	}
	names := r.Header[namespaceHeader]
	switch {
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
