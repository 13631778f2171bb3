package interop

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	connectv1 "connectrpc.com/connect"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	interopv1 "github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1/interopv1rpcmesh"
)

// failing is a service whose handler fails with an error of another library's.
type failing struct {
	interopv1rpcmesh.UnimplementedEchoServiceServer
	err error
}

func (f failing) Echo(context.Context, *interopv1.EchoRequest) (*interopv1.EchoResponse, error) {
	return nil, fmt.Errorf("here: %w", f.err)
}

// TestErrorsOfOtherLibraries: the errors of grpc-go and of connect's first version arrive with code, message and
// details.
func TestErrorsOfOtherLibraries(t *testing.T) {
	detail := durationpb.New(time.Minute)
	st, err := status.New(codes.NotFound, "no such book").WithDetails(detail)
	if err != nil {
		t.Fatal(err)
	}
	old := connectv1.NewError(connectv1.CodeNotFound, errors.New("no such book"))
	oldDetail, err := connectv1.NewErrorDetail(detail)
	if err != nil {
		t.Fatal(err)
	}
	old.AddDetail(oldDetail)
	for name, err := range map[string]error{"grpc-go": st.Err(), "connect v1": old} {
		t.Run(name, func(t *testing.T) {
			m := startWith(t, func(far *rpcmesh.Node) error {
				_, errRegister := interopv1rpcmesh.RegisterEchoServiceOrigin(far.Namespace(namespace), failing{err: err})
				return errRegister
			})
			_, err := interopv1rpcmesh.NewEchoServiceClient(m.entry).Echo(t.Context(), new(interopv1.EchoRequest))
			e, ok := errors.AsType[*connect.Error](err)
			if !ok || e.Code() != connect.CodeNotFound || e.Message() != "no such book" || len(e.Details()) != 1 {
				t.Fatalf("%v", err)
			}
			got, err := connectproto.UnmarshalErrorDetail(e.Details()[0])
			if err != nil || !proto.Equal(got, detail) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}
