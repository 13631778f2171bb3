// protoc-gen-rpcmesh-go is a plugin of buf and protoc. For every service of a .proto file it writes a
// Go interface to implement, a function that registers an implementation as an origin, and a client.
//
// With buf, from a module that has both plugins as tools (go get -tool), buf.gen.yaml reads:
//
//	version: v2
//	plugins:
//	  - local: [go, tool, protoc-gen-go]
//	    out: gen
//	    opt: paths=source_relative
//	  - local: [go, tool, protoc-gen-rpcmesh-go]
//	    out: gen
//	    opt: paths=source_relative
//
// With protoc, which finds both plugins on the PATH:
//
//	protoc --go_out=gen --rpcmesh-go_out=gen greet/v1/greet.proto
//
// Where greet.proto's messages are in the Go package greetv1, in gen/greet/v1/greet.pb.go, its stubs
// are in the package greetv1rpcmesh, in gen/greet/v1/greetv1rpcmesh/greet.rpcmesh.go. A file without
// services gives no output.
//
// The stream types, GreeterCountServerStream and the like, are other names for the runtime's generic
// interfaces. So the generated code has no method of a stream, one helper serves all streams of a shape,
// and a test can give a handler a stream of its own making.
//
// # Options
//
// The options of protoc-gen-go that say where output goes mean here what they mean there: paths,
// module, M and annotate_code. One is added:
//
//   - package_suffix: what is appended to the messages' package to name the stubs' package, "rpcmesh"
//     by default. If it is empty, the stubs go into the messages' package itself, where
//     protoc-gen-go-grpc's have the same names: then only one of the two can be used.
//
// # Names
//
// A name in the .proto file becomes a Go name as protoc-gen-go does it. Different names of one Go
// package can so become the same, as the stream types do of method BC of service A and method C of
// service AB. Then the first keeps the plain name (by the path of the file, then by the order in it;
// with an empty package_suffix, messages and enums come before all services) and the other gets an
// underscore: behind its own name if it is a service or a method (Foo_Server, Get_), between service
// and method if it is a pair of both (AB_CServerStream). Nothing else is renamed, and procedures never
// are. Files of one Go package can only give way to each other when one run of the plugin sees both,
// as is so with buf and with one protoc command for the package.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"google.golang.org/protobuf/compiler/protogen"
)

const pluginName = "protoc-gen-rpcmesh-go"

func main() {
	flags := flag.NewFlagSet(pluginName, flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "%s is run by buf or protoc, see https://pkg.go.dev/github.com/rpcmesh/rpcmesh/cmd/%[1]s\n", pluginName)
		flags.PrintDefaults()
	}
	printVersion := flags.Bool("version", false, "print the version and exit")
	err := flags.Parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	case *printVersion:
		fmt.Println(pluginName, version())
		return
	}
	opts := defaultOptions()
	protogen.Options{
		ParamFunc:         opts.set,
		ImportRewriteFunc: importPathOf,
	}.Run(func(plugin *protogen.Plugin) error {
		if err := generate(plugin, opts); err != nil {
			return err
		}
		warnOfClash(os.Stderr, plugin, opts)
		return nil
	})
}

// warnOfClash says which stubs will not compile beside those of protoc-gen-go-grpc, whose output this plugin
// does not see.
func warnOfClash(w io.Writer, plugin *protogen.Plugin, opts *options) {
	if opts.packageSuffix != "" {
		return
	}
	for _, file := range plugin.Files {
		if !file.Generate || len(file.Services) == 0 {
			continue
		}
		name := file.Services[0].GoName
		fmt.Fprintf(w, "%s: %s: with an empty package_suffix, %[3]sServer and %[3]sClient are declared in package %[4]s, "+
			"as protoc-gen-go-grpc declares them: leave package_suffix out if you use both\n",
			pluginName, file.Desc.Path(), name, file.GoPackageName)
		return
	}
}

// version is that of the module the plugin was built from, "(devel)" in its own tree.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
