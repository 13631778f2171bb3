package adopt

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	descriptors "github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

const (
	// maxNesting bounds how many messages may lie in one another in the encoding of a schema.
	maxNesting = 100
	// maxExpansion bounds how many bytes the names in a schema may have, for each that its encoding may have. Names
	// that lie in long names are what makes a schema of a few kilobytes one of gigabytes.
	maxExpansion = 16
)

// schema is what a server has.
type schema struct {
	sum      [sha256.Size]byte
	services []service // sorted by name
}

// service is one service of a server, with the specs of its methods.
type service struct {
	name  string
	specs []connect.Spec
}

// parseSet decodes a FileDescriptorSet.
func parseSet(b []byte, limits *Limits) (*descriptorpb.FileDescriptorSet, error) {
	if len(b) > limits.MaxDescriptors {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "adopt: Config.Descriptors has %d bytes: set Limits.MaxDescriptors of %d higher", len(b), limits.MaxDescriptors)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := (proto.UnmarshalOptions{RecursionLimit: maxNesting}).Unmarshal(b, set); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument,
			"adopt: Config.Descriptors must be a FileDescriptorSet as buf build -o writes it").WithCause(err)
	}
	return set, nil
}

// buildSchema resolves the files of set and picks the services called names; nil stands for all.
func buildSchema(set *descriptorpb.FileDescriptorSet, names []string, limits *Limits) (*schema, error) {
	if len(set.GetFile()) > limits.MaxFiles {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "adopt: the schema has %d files: set Limits.MaxFiles of %d higher", len(set.GetFile()), limits.MaxFiles)
	}
	if err := descriptors.CheckDefinitions(set, limits.MaxDescriptors*maxExpansion); err != nil {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "adopt: the schema is too large when it is built: %v", err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "adopt: the schema does not build: %v", err)
	}
	if names == nil {
		names = servicesOf(files)
	}
	s := &schema{}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if isOwn(name) {
			continue
		}
		if len(s.services) == limits.MaxServices {
			return nil, connect.Errorf(connect.CodeInvalidArgument,
				"adopt: the server has more services than the Limits.MaxServices of %d: set it higher, or name those to adopt in Config.Services", limits.MaxServices)
		}
		added, err := serviceOf(files, name)
		if err != nil {
			return nil, err
		}
		s.services = append(s.services, added)
	}
	if len(s.services) == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, "adopt: the schema has no service to adopt: set Config.Services or Config.Descriptors to have one")
	}
	s.sum = sumOf(set)
	return s, nil
}

// isOwn tells the services by which a server speaks of itself.
func isOwn(service string) bool {
	return strings.HasPrefix(service, "grpc.reflection.") || strings.HasPrefix(service, "grpc.health.")
}

func servicesOf(files *protoregistry.Files) []string {
	names := []string{}
	for file := range files.RangeFiles {
		for i := range file.Services().Len() {
			names = append(names, string(file.Services().Get(i).FullName()))
		}
	}
	return names
}

func serviceOf(files *protoregistry.Files, name string) (service, error) {
	found, err := files.FindDescriptorByName(protoreflect.FullName(name))
	sd, ok := found.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return service{}, connect.Errorf(connect.CodeInvalidArgument, "adopt: the schema has no service %.200q: Config.Services must be full names, like pkg.v1.Service", name)
	}
	s := service{name: name}
	for i := range sd.Methods().Len() {
		s.specs = append(s.specs, rawcall.SpecOf(sd.Methods().Get(i)))
	}
	return s, nil
}

// sumOf is the same for the same files, in whatever order they come.
func sumOf(set *descriptorpb.FileDescriptorSet) (sum [sha256.Size]byte) {
	files := map[string]*descriptorpb.FileDescriptorProto{}
	for _, f := range set.GetFile() {
		files[f.GetName()] = f
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(files[name])
		if err != nil {
			continue // they came encoded, and encode again
		}
		one := sha256.Sum256(b)
		h.Write(one[:])
	}
	h.Sum(sum[:0])
	return sum
}
