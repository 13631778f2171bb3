package main

import (
	"context"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/collide"
	"github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/collide/colliderpcmesh"
	"github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/edition2024"
	"github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/edition2024/edition2024rpcmesh"
	"github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/kinds"
	"github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/kinds/kindsrpcmesh"
	"github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/nopackage"
	"github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/nopackage/nopackagerpcmesh"
	"github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/same"
	sharedpb "github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/shared"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// registrar serves what is registered with it, in this process.
type registrar struct{ *connect.Server }

func (r registrar) Register(methods ...connect.Method) (*rpcmesh.Origin, error) {
	r.Server.Register(methods...)
	return new(rpcmesh.Origin), nil
}

// serve returns a transport to the servers that register registers.
func serve(t *testing.T, register func(reg rpcmesh.Registrar) (*rpcmesh.Origin, error)) connect.Transport {
	t.Helper()
	reg := registrar{connect.NewServer()}
	if _, err := register(reg); err != nil {
		t.Fatal(err)
	}
	return connectinprocess.New(reg.Server)
}

type kindsServer struct {
	kindsrpcmesh.UnimplementedKindsServer
}

func (kindsServer) Again(context.Context, *emptypb.Empty) (*timestamppb.Timestamp, error) {
	return &timestamppb.Timestamp{Seconds: 42}, nil
}

func (kindsServer) Down(_ context.Context, req *anypb.Any, stream kindsrpcmesh.KindsDownServerStream) error {
	value := map[string]*structpb.Value{"type": structpb.NewStringValue(req.GetTypeUrl())}
	return stream.Send(&structpb.Struct{Fields: value})
}

func (kindsServer) Up(_ context.Context, stream kindsrpcmesh.KindsUpServerStream) (*sharedpb.Item_Detail, error) {
	res := new(sharedpb.Item_Detail)
	for req, err := range stream.All() {
		if err != nil {
			return nil, err
		}
		res.Text += req.GetDetail().GetText()
	}
	return res, nil
}

func (kindsServer) Both(_ context.Context, stream kindsrpcmesh.KindsBothServerStream) error {
	req, err := stream.Receive()
	if err != nil {
		return err
	}
	most := &kinds.Outer_Inner_Most{Text: req.GetText()}
	return stream.Send(&kinds.Outer{Inners: []*kinds.Outer_Inner{{Most: most}}})
}

// TestGeneratedKinds calls methods of all kinds, with nested, imported and well-known messages.
func TestGeneratedKinds(t *testing.T) {
	client := kindsrpcmesh.NewKindsClient(serve(t, func(reg rpcmesh.Registrar) (*rpcmesh.Origin, error) {
		return kindsrpcmesh.RegisterKindsOrigin(reg, kindsServer{})
	}))
	if res, err := client.Again(t.Context(), new(emptypb.Empty)); err != nil || res.GetSeconds() != 42 {
		t.Errorf("Again: %v, %v", res, err)
	}
	down, err := client.Down(t.Context(), &anypb.Any{TypeUrl: "a/b"})
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	if res, err := down.Receive(); err != nil || res.GetFields()["type"].GetStringValue() != "a/b" {
		t.Errorf("Down: %v, %v", res, err)
	}
	up, err := client.Up(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"to", "gether"} {
		if err := up.Send(&sharedpb.Item{Detail: &sharedpb.Item_Detail{Text: text}}); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := up.CloseAndReceive(); err != nil || res.GetText() != "together" {
		t.Errorf("Up: %v, %v", res, err)
	}
	both, err := client.Both(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	if err := both.Send(&sharedpb.Item_Detail{Text: "deep"}); err != nil {
		t.Fatal(err)
	}
	if res, err := both.Receive(); err != nil || res.GetInners()[0].GetMost().GetText() != "deep" {
		t.Errorf("Both: %v, %v", res, err)
	}
}

type wordServer struct {
	edition2024rpcmesh.UnimplementedDictionaryServer
}

func (wordServer) Define(_ context.Context, req *edition2024.Word) (*edition2024.Word, error) {
	res := new(edition2024.Word)
	res.SetText(req.GetText() + "!")
	return res, nil
}

func TestGeneratedOpaqueMessages(t *testing.T) {
	client := edition2024rpcmesh.NewDictionaryClient(serve(t, func(reg rpcmesh.Registrar) (*rpcmesh.Origin, error) {
		return edition2024rpcmesh.RegisterDictionaryOrigin(reg, wordServer{})
	}))
	req := new(edition2024.Word)
	req.SetText("word")
	if res, err := client.Define(t.Context(), req); err != nil || res.GetText() != "word!" {
		t.Errorf("got %v, %v", res, err)
	}
}

// TestGeneratedNames calls methods whose Go names gave way, and checks that each reaches its own
// procedure: that of the .proto file.
func TestGeneratedNames(t *testing.T) {
	transport := serve(t, func(reg rpcmesh.Registrar) (*rpcmesh.Origin, error) {
		for _, register := range []func() (*rpcmesh.Origin, error){
			func() (*rpcmesh.Origin, error) {
				return colliderpcmesh.RegisterFooOrigin(reg, colliderpcmesh.UnimplementedFooServer{})
			},
			func() (*rpcmesh.Origin, error) {
				return colliderpcmesh.RegisterFoo__Origin(reg, colliderpcmesh.UnimplementedFoo__Server{})
			},
			func() (*rpcmesh.Origin, error) {
				return colliderpcmesh.RegisterABOrigin(reg, colliderpcmesh.UnimplementedABServer{})
			},
			func() (*rpcmesh.Origin, error) {
				return nopackagerpcmesh.RegisterGoldenBareOrigin(reg, nopackagerpcmesh.UnimplementedGoldenBareServer{})
			},
			func() (*rpcmesh.Origin, error) {
				return kindsrpcmesh.RegisterEmptyOrigin(reg, kindsrpcmesh.UnimplementedEmptyServer{})
			},
		} {
			if _, err := register(); err != nil {
				return nil, err
			}
		}
		return same.RegisterPinger_Origin(reg, same.UnimplementedPinger_Server{})
	})
	ctx, nothing := t.Context(), new(collide.Nothing)
	wantUnimplemented := func(procedure string, err error) {
		t.Helper()
		if connect.CodeOf(err) != connect.CodeUnimplemented || !strings.Contains(err.Error(), procedure+" is registered") {
			t.Errorf("got %v, want unimplemented by %s", err, procedure)
		}
	}
	_, err := colliderpcmesh.NewFooClient(transport).GetX_(ctx, nothing)
	wantUnimplemented("/golden.collide.Foo/GetX_", err)
	getX, err := colliderpcmesh.NewFooClient(transport).GetX__(ctx)
	if err == nil {
		_, err = getX.Receive()
	}
	wantUnimplemented("/golden.collide.Foo/get_x", err)
	bar, err := colliderpcmesh.NewFoo__Client(transport).Bar(ctx, nothing)
	if err == nil {
		_, err = bar.Receive()
	}
	wantUnimplemented("/golden.collide.foo/Bar", err)
	c, err := colliderpcmesh.NewABClient(transport).C(ctx, nothing)
	if err == nil {
		_, err = c.Receive()
	}
	wantUnimplemented("/golden.collide.AB/C", err)
	_, err = nopackagerpcmesh.NewGoldenBareClient(transport).Unary(ctx, new(nopackage.GoldenBareMessage))
	wantUnimplemented("/GoldenBare/Unary", err)
	_, err = same.NewPinger_Client(transport).Ping(ctx, new(same.Ping))
	wantUnimplemented("/golden.same.Pinger/Ping", err)
}
