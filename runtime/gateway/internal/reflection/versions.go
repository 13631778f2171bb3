package reflection

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// versions keep what one stream is told free of contradictions. Services that were built apart can import two
// versions of one file. A client keeps files by their path: what it was told first stands for all others.
// So a file that differs from one of its path that was told before is told by another path, and those that
// import it name it so.
type versions struct {
	byPath map[string]version
}

type version struct {
	content [sha256.Size]byte
	file    protoreflect.FileDescriptor
}

// maxTold bounds the files that one stream is told of.
const maxTold = 1 << 14

// find returns a file that was told by a path of its own.
func (vs *versions) find(path string) (protoreflect.FileDescriptor, bool) {
	v, ok := vs.byPath[path]
	return v.file, ok
}

// consistent returns file, or the same by other paths where it, or what it imports, differs from what was
// told before.
func (vs *versions) consistent(file protoreflect.FileDescriptor) (protoreflect.FileDescriptor, error) {
	if known, ok := vs.byPath[file.Path()]; ok && known.file == file {
		return file, nil
	}
	if vs.byPath == nil {
		vs.byPath = map[string]version{}
	}
	if len(vs.byPath) > maxTold {
		return nil, fmt.Errorf("more than %d files were told on this stream: open another", maxTold)
	}
	r := renaming{versions: vs, paths: map[string]string{}, files: new(protoregistry.Files)}
	return r.add(file)
}

// renaming tells a file and what it imports.
type renaming struct {
	*versions
	paths map[string]string // as it is told, by its own path
	files *protoregistry.Files
}

// add tells a file after those that it imports, and returns it as it is told.
func (r *renaming) add(file protoreflect.FileDescriptor) (protoreflect.FileDescriptor, error) {
	if path, done := r.paths[file.Path()]; done {
		return r.files.FindFileByPath(path)
	}
	described := protodesc.ToFileDescriptorProto(file)
	changed := false
	for i := range file.Imports().Len() {
		imported := file.Imports().Get(i).FileDescriptor
		if imported.IsPlaceholder() {
			continue
		}
		told, err := r.add(imported)
		if err != nil {
			return nil, err
		}
		changed = changed || told.Path() != imported.Path()
		described.Dependency[i] = told.Path()
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(described)
	if err != nil {
		return nil, err
	}
	content := sha256.Sum256(encoded)
	if known, told := r.byPath[file.Path()]; told && known.content != content {
		described.Name = new(file.Path() + "@" + hex.EncodeToString(content[:6]))
		changed = true
	}
	return r.tell(file, described, content, changed)
}

// tell notes a file as described, which is another than file if it was changed.
func (r *renaming) tell(
	file protoreflect.FileDescriptor, described *descriptorpb.FileDescriptorProto, content [sha256.Size]byte, changed bool,
) (protoreflect.FileDescriptor, error) {
	path := described.GetName()
	r.paths[file.Path()] = path
	known, told := r.byPath[path]
	switch {
	case told:
		file = known.file
	case changed:
		var err error
		if file, err = (protodesc.FileOptions{AllowUnresolvable: true}).New(described, r.files); err != nil {
			return nil, err
		}
	}
	r.byPath[path] = version{content, file}
	return file, r.files.RegisterFile(file)
}

// findIn returns what has a full name in a file.
func findIn(file protoreflect.FileDescriptor, name protoreflect.FullName) (protoreflect.Descriptor, error) {
	files := new(protoregistry.Files)
	if err := files.RegisterFile(file); err != nil {
		return nil, err
	}
	return files.FindDescriptorByName(name)
}
