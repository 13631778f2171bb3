package main

import (
	"go/types"
	"strconv"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

const (
	contextPackage      = protogen.GoImportPath("context")
	connectPackage      = protogen.GoImportPath("connectrpc.com/connect/v2")
	rpcmeshPackage      = protogen.GoImportPath("github.com/rpcmesh/rpcmesh/runtime")
	runtimePackage      = protogen.GoImportPath("github.com/rpcmesh/rpcmesh/runtime/stub")
	protoreflectPackage = protogen.GoImportPath("google.golang.org/protobuf/reflect/protoreflect")
)

// imports gives each package that a file imports the name it has there. protogen would take the last
// part of the path: wrong for connect and rpcmesh, and possibly the same as a name of the file's own.
type imports struct {
	names map[protogen.GoImportPath]string // of packages: as they call themselves
	used  map[protogen.GoImportPath]string // as they are called in this file
	taken nameSet
}

func newImports(messagePackages map[protogen.GoImportPath]protogen.GoPackageName, declared nameSet) *imports {
	imp := &imports{
		names: map[protogen.GoImportPath]string{
			contextPackage:      "context",
			connectPackage:      "connect",
			rpcmeshPackage:      "rpcmesh",
			runtimePackage:      "stub",
			protoreflectPackage: "protoreflect",
		},
		used:  make(map[protogen.GoImportPath]string),
		taken: make(nameSet),
	}
	imp.taken.add(types.Universe.Names()...)
	imp.taken.add(localNames...)
	for name := range declared {
		imp.taken[name] = true
	}
	for _, path := range []protogen.GoImportPath{contextPackage, connectPackage, rpcmeshPackage, runtimePackage, protoreflectPackage} {
		imp.nameOf(path)
	}
	for path, name := range messagePackages {
		imp.names[path] = string(name)
	}
	return imp
}

// nameOf returns what the package is called in this file.
func (imp *imports) nameOf(path protogen.GoImportPath) string {
	if name, ok := imp.used[path]; ok {
		return name
	}
	name := imp.names[path]
	for i := 1; !imp.taken.add(name); i++ {
		name = imp.names[path] + strconv.Itoa(i)
	}
	imp.used[path] = name
	return name
}

// named returns ident with an import path of which protogen makes the name that imp has chosen;
// importPathOf takes that off again.
func (imp *imports) named(ident protogen.GoIdent) protogen.GoIdent {
	ident.GoImportPath += protogen.GoImportPath(nameMark + imp.nameOf(ident.GoImportPath))
	return ident
}

// nameMark stands between an import path and the name chosen for it. No import path has a NUL.
const nameMark = "\x00/"

func importPathOf(path protogen.GoImportPath) protogen.GoImportPath {
	plain, _, _ := strings.Cut(string(path), nameMark)
	return protogen.GoImportPath(plain)
}
