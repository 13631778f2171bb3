package adopt

import (
	"net/textproto"
	"strings"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/grpc"
)

// callerPrefix is what the headers begin with by which a server is told who calls.
const callerPrefix = "Rpcmesh-Caller-"

// setCallerHeaders sets the headers that say who has made a call. One has no value that is not known.
func setCallerHeaders(h *connect.Header, c rpcmesh.Caller) {
	id := ""
	if c.Node != (rpcmesh.NodeID{}) {
		id = c.Node.String()
	}
	for _, header := range [...]struct{ key, value string }{
		{"Id", id}, {"Node", c.NodeName}, {"Gateway", c.Gateway}, {"Token", c.Token}, {"Proxy", c.Proxy}, {"Addr", c.Addr},
	} {
		if header.value != "" {
			h.Set(callerPrefix+header.key, grpc.Escape(header.value))
		}
	}
}

// skip drops what only this node may say. Servers that take _ for - are thought of.
func skip(key string) bool {
	return len(key) >= len(callerPrefix) && key[0]|' ' == 'r' &&
		strings.HasPrefix(textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(key, "_", "-")), callerPrefix)
}
