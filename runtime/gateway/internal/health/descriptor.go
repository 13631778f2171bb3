package health

import (
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	healthv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/grpc/health/v1"
	"github.com/rpcmesh/rpcmesh/runtime/stub"
)

func spec(method protoreflect.Name) stub.MethodSpec {
	return stub.NewMethodSpec(official, method)
}

// official describes the service under its official name, which the generated code has to avoid; see
// health.proto.
var official = sync.OnceValue(func() protoreflect.ServiceDescriptor {
	file := protodesc.ToFileDescriptorProto(healthv1.File_rpcmesh_grpc_health_v1_health_proto)
	file.Options = nil
	text, err := protojson.Marshal(file)
	if err != nil {
		return nil
	}
	renamed := strings.NewReplacer("rpcmesh.grpc.", "grpc.", "rpcmesh/grpc/", "grpc/").Replace(string(text))
	file = new(descriptorpb.FileDescriptorProto)
	if err := protojson.Unmarshal([]byte(renamed), file); err != nil {
		return nil
	}
	described, err := protodesc.NewFile(file, nil)
	if err != nil {
		return nil
	}
	return described.Services().ByName("Health")
})
