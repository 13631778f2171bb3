package main

import (
	"fmt"
	"go/token"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// options are what the plugin takes besides protoc-gen-go's paths, module, M and annotate_code.
type options struct {
	packageSuffix string
}

func defaultOptions() *options { return &options{packageSuffix: "rpcmesh"} }

func (o *options) set(name, value string) error {
	if name != "package_suffix" {
		return fmt.Errorf("unknown option %q: there are package_suffix, paths, module, M and annotate_code", name)
	}
	o.packageSuffix = value
	return nil
}

// generate adds the stubs of all files that are to be generated to plugin's output.
func generate(plugin *protogen.Plugin, opts *options) error {
	plugin.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL |
		pluginpb.CodeGeneratorResponse_FEATURE_SUPPORTS_EDITIONS)
	plugin.SupportedEditionsMinimum = descriptorpb.Edition_EDITION_PROTO2
	plugin.SupportedEditionsMaximum = descriptorpb.Edition_EDITION_2024

	messagePackages := make(map[protogen.GoImportPath]protogen.GoPackageName)
	for _, file := range plugin.Files {
		messagePackages[file.GoImportPath] = file.GoPackageName
	}
	stubs := make(map[protogen.GoImportPath]*stubPackage)
	for _, file := range plugin.Files {
		if !file.Generate || len(file.Services) == 0 {
			continue
		}
		pkg := stubs[file.GoImportPath]
		if pkg == nil {
			var err error
			if pkg, err = newStubPackage(plugin.Files, file, opts); err != nil {
				return err
			}
			stubs[file.GoImportPath] = pkg
		}
		out := plugin.NewGeneratedFile(pkg.outputName(file), pkg.importPath)
		newGenerator(out, pkg, messagePackages).file(file)
	}
	return nil
}

// stubPackage is the Go package that the stubs of one Go package's messages go into.
type stubPackage struct {
	name       protogen.GoPackageName
	importPath protogen.GoImportPath
	folder     string // below the messages' folder; "" is that folder
	names      *packageNames
}

// newStubPackage returns the package for the stubs of file and of all files that share its package.
func newStubPackage(all []*protogen.File, file *protogen.File, opts *options) (*stubPackage, error) {
	pkg := &stubPackage{name: file.GoPackageName, importPath: file.GoImportPath}
	if opts.packageSuffix != "" {
		pkg.name += protogen.GoPackageName(opts.packageSuffix)
		pkg.folder = string(pkg.name)
		pkg.importPath = protogen.GoImportPath(path.Join(string(file.GoImportPath), pkg.folder))
	}
	if !token.IsIdentifier(string(pkg.name)) {
		return nil, fmt.Errorf("%s: %q is no Go package name: it is the messages' package %q with package_suffix %q",
			file.Desc.Path(), pkg.name, file.GoPackageName, opts.packageSuffix)
	}
	var files []*protogen.File
	for _, f := range all {
		if f.GoImportPath == file.GoImportPath {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b *protogen.File) int { return strings.Compare(a.Desc.Path(), b.Desc.Path()) })
	pkg.names = newPackageNames(files, pkg.importPath == file.GoImportPath)
	return pkg, nil
}

func (p *stubPackage) outputName(file *protogen.File) string {
	folder, base := path.Split(file.GeneratedFilenamePrefix)
	return path.Join(folder, p.folder, base+".rpcmesh.go")
}
