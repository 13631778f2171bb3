package adopt_test

import (
	"context"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// callerHeaders are the headers by which the server was told who called.
func callerHeaders(call seen) map[string]string {
	told := map[string]string{}
	for key, values := range call.header.All() {
		if strings.HasPrefix(strings.ReplaceAll(key, "_", "-"), "Rpcmesh-") {
			told[key] = strings.Join(values, ",")
		}
	}
	return told
}

// TestCaller: an adopted server is told who calls by the node that adopts it, and by nobody else.
func TestCaller(t *testing.T) {
	node, caller := chained(t)
	id := rpcmesh.NodeIDOf("a")
	outside := rpcmesh.Outside{Gateway: "door", Token: "müller 100%", Addr: "192.0.2.1:7"}
	for _, protocol := range []adopt.Protocol{adopt.GRPC, adopt.GRPCWeb, adopt.Connect} {
		for _, silent := range []bool{false, true} {
			s := newStock()
			server := serve(t, "127.0.0.1:0", mux(s.server()), nil, false)
			a := ready(t, node, server.url, quick(func(cfg *adopt.Config) { cfg.Protocol, cfg.NoCaller = protocol, silent }))
			back(t, caller)
			inside := map[string]string{"Rpcmesh-Caller-Id": id.String(), "Rpcmesh-Caller-Node": "a"}
			from := map[string]string{
				"Rpcmesh-Caller-Id": id.String(), "Rpcmesh-Caller-Node": "a", "Rpcmesh-Caller-Gateway": "door",
				"Rpcmesh-Caller-Token": "m%C3%BCller 100%25", "Rpcmesh-Caller-Addr": "192.0.2.1:7",
			}
			for _, call := range []struct {
				ctx  context.Context
				want map[string]string
			}{{within(t), inside}, {rawcall.WithOutside(within(t), rawcall.Outside(outside)), from}} {
				forged, info := connect.NewClientContext(call.ctx)
				for _, key := range []string{"Rpcmesh-Caller-Id", "Rpcmesh-Caller-Proxy", "Rpcmesh-Caller-Else", "Rpcmesh_caller_token"} {
					info.RequestHeader().Set(key, "forged")
				}
				if _, err := greetv1rpcmesh.NewGreeterClient(caller).Greet(forged, &greetv1.GreetRequest{Name: "Ada"}); err != nil {
					t.Fatal(err)
				}
				if silent {
					call.want = map[string]string{}
				}
				if diff := cmp.Diff(call.want, callerHeaders(<-s.calls)); diff != "" {
					t.Errorf("%v, silent %v (-want +got):\n%s", protocol, silent, diff)
				}
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			gone(t, caller)
		}
	}
}

// TestErrorsHaveNoAddress: how a server is lost is told without where it was.
func TestErrorsHaveNoAddress(t *testing.T) {
	for _, protocol := range []adopt.Protocol{adopt.GRPC, adopt.GRPCWeb, adopt.Connect} {
		for _, old := range []bool{false, true} {
			if old && protocol == adopt.GRPC {
				continue
			}
			s := newStock()
			server := serve(t, "127.0.0.1:0", mux(s.server()), nil, old)
			node := lone(t)
			ready(t, node, server.url, quick(func(cfg *adopt.Config) {
				cfg.Protocol = protocol
				if old {
					cfg.Descriptors = greeterSet(t)
				}
			}))
			lost := make(chan error, 1)
			go func() {
				_, err := greetv1rpcmesh.NewGreeterClient(node.Namespace("public")).Greet(within(t), &greetv1.GreetRequest{Name: "wait"})
				lost <- err
			}()
			<-s.started
			server.stop()
			err := <-lost
			wantCode(t, err, connect.CodeUnavailable)
			if strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "http:") {
				t.Errorf("%v: %v", protocol, err)
			}
		}
	}
}
