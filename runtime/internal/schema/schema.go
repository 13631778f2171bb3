package schema

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Hash is the SHA-256 of a set's encoding.
type Hash [sha256.Size]byte

// Set is the descriptors of one file, the root, and of all that it imports. It is immutable and may be
// used concurrently.
type Set struct {
	hash    Hash
	encoded []byte
	files   *descriptorpb.FileDescriptorSet
	root    protoreflect.FileDescriptor

	registry   *protoregistry.Files
	extensions extensions
	weight     int
}

// Hash returns the hash of the set's encoding.
func (s *Set) Hash() Hash { return s.hash }

// Encoded returns the set as it is passed on. It is shared: do not change it.
func (s *Set) Encoded() []byte { return s.encoded }

// Files returns the files, each after those that it imports, the root last. It is shared: do not change
// it.
func (s *Set) Files() *descriptorpb.FileDescriptorSet { return s.files }

// Registry returns the files as they refer to each other. It is shared: do not add to it.
func (s *Set) Registry() *protoregistry.Files { return s.registry }

// Weight returns about how many bytes of memory the set takes, rather more than less: descriptors are many times
// as long as their encoding.
func (s *Set) Weight() int { return s.weight }

// ErrHash is what Parse returns for bytes that are not those that the hash names.
var ErrHash = errors.New("the descriptors do not fit their hash")

// Of returns the set of a file that this process has. Comments are left out, so that sets of the same
// definitions are the same. Errors: *LimitError, and where the file imports one that is not there.
func Of(file protoreflect.FileDescriptor) (*Set, error) {
	c := collection{done: map[string]bool{}, registry: new(protoregistry.Files)}
	if err := c.add(file, 0); err != nil {
		return nil, err
	}
	files := &descriptorpb.FileDescriptorSet{File: c.files}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(files)
	if err != nil {
		return nil, err
	}
	if len(encoded) > MaxBytes {
		return nil, &LimitError{What: "bytes", Limit: MaxBytes}
	}
	// Do not offer what every other node would refuse.
	elements, err := countElements(encoded)
	if err != nil {
		return nil, err
	}
	names, err := check(files)
	if err != nil {
		return nil, err
	}
	return &Set{
		hash: sha256.Sum256(encoded), encoded: encoded, files: files, root: file,
		registry: c.registry, extensions: extensionsOf(c.registry), weight: estimateMemory(encoded, elements, names),
	}, nil
}

// collection collects files, imports before their importers.
type collection struct {
	files    []*descriptorpb.FileDescriptorProto
	done     map[string]bool
	registry *protoregistry.Files
}

func (c *collection) add(file protoreflect.FileDescriptor, depth int) error {
	switch {
	case file == nil || file.IsPlaceholder():
		return errors.New("a file that is imported is not there")
	case c.done[file.Path()]:
		return nil
	case depth > MaxDepth:
		return &LimitError{What: "imports in a chain", Limit: MaxDepth}
	case len(c.done) == MaxFiles:
		return &LimitError{What: "files", Limit: MaxFiles}
	}
	c.done[file.Path()] = true
	imports := file.Imports()
	for i := range imports.Len() {
		if err := c.add(imports.Get(i).FileDescriptor, depth+1); err != nil {
			return fmt.Errorf("%w: %s", err, imports.Get(i).Path())
		}
	}
	for _, imported := range optionImports(file) {
		if err := c.add(imported, depth+1); err != nil {
			return err
		}
	}
	described := protodesc.ToFileDescriptorProto(file)
	described.SourceCodeInfo = nil
	c.files = append(c.files, described)
	return c.registry.RegisterFile(file)
}

// optionImports returns those files that a file imports only for its options, as far as they are there.
func optionImports(file protoreflect.FileDescriptor) (files []protoreflect.FileDescriptor) {
	f, ok := file.(interface {
		OptionImports() protoreflect.FileImports
	})
	if !ok {
		return nil
	}
	imports := f.OptionImports()
	for i := range imports.Len() {
		if imported := imports.Get(i).FileDescriptor; !imported.IsPlaceholder() {
			files = append(files, imported)
		}
	}
	return files
}

// Parse returns the set that a peer sent. Errors: *LimitError, [ErrHash], and others where the bytes are
// no valid set of descriptors. It keeps encoded.
func Parse(encoded []byte, hash Hash) (*Set, error) {
	if len(encoded) > MaxBytes {
		return nil, &LimitError{What: "bytes", Limit: MaxBytes}
	}
	if sha256.Sum256(encoded) != hash {
		return nil, ErrHash
	}
	elements, err := countElements(encoded)
	if err != nil {
		return nil, err
	}
	files := new(descriptorpb.FileDescriptorSet)
	// Extensions in options stay undecoded: no code of this process interprets them.
	if err := (proto.UnmarshalOptions{Resolver: new(protoregistry.Types)}).Unmarshal(encoded, files); err != nil {
		return nil, invalid(err)
	}
	names, err := check(files)
	if err != nil {
		return nil, err
	}
	known := newIndex()
	s := &Set{hash: hash, encoded: encoded, files: files, registry: known.Files, weight: estimateMemory(encoded, elements, names)}
	for _, described := range files.GetFile() {
		file, err := protodesc.NewFile(described, known)
		if err != nil {
			return nil, invalid(err)
		}
		if err := known.add(file); err != nil {
			return nil, invalid(err)
		}
		s.root = file
	}
	s.extensions = extensionsOf(known.Files)
	return s, nil
}

// Method returns the method of the root that a procedure, "/pkg.Service/Method", names. It fails where
// there is none, or it has not the kind that client and server, "streams of it", tell.
func (s *Set) Method(procedure string, client, server bool) (protoreflect.MethodDescriptor, error) {
	name, method, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	var service protoreflect.ServiceDescriptor
	if full := protoreflect.FullName(name); full.Parent() == s.root.Package() {
		service = s.root.Services().ByName(full.Name())
	}
	if service == nil {
		return nil, fmt.Errorf("the descriptors have no service of %.200q", procedure)
	}
	md := service.Methods().ByName(protoreflect.Name(method))
	switch {
	case md == nil:
		return nil, fmt.Errorf("the descriptors have no method of %.200q", procedure)
	case md.IsStreamingClient() != client || md.IsStreamingServer() != server:
		return nil, fmt.Errorf("the descriptors call %.200q a %s method, the table a %s one",
			procedure, kindOf(md.IsStreamingClient(), md.IsStreamingServer()), kindOf(client, server))
	}
	return md, nil
}

func kindOf(client, server bool) string {
	switch {
	case client && server:
		return "bidirectional stream"
	case client:
		return "client stream"
	case server:
		return "server stream"
	}
	return "unary"
}

// invalid is the error for bytes that are no valid set. It quotes little of what the peer sent.
func invalid(err error) error {
	return fmt.Errorf("the descriptors are not valid: %.300s", err.Error())
}
