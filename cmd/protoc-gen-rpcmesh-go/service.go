package main

import (
	"strconv"

	"google.golang.org/protobuf/compiler/protogen"
)

// kind says which sides of a method stream.
type kind int

const (
	unary kind = iota
	clientStream
	serverStream
	bidiStream
)

func kindOf(method *protogen.Method) kind {
	client, server := method.Desc.IsStreamingClient(), method.Desc.IsStreamingServer()
	switch {
	case client && server:
		return bidiStream
	case client:
		return clientStream
	case server:
		return serverStream
	default:
		return unary
	}
}

// bind is the function of the runtime that binds a method of this kind to a server.
func (k kind) bind() protogen.GoIdent {
	return runtimePackage.Ident([]string{"UnaryMethod", "ClientStreamMethod", "ServerStreamMethod", "BidiStreamMethod"}[k])
}

// call is the function of the runtime that calls a method of this kind.
func (k kind) call() protogen.GoIdent {
	return runtimePackage.Ident([]string{"CallUnary", "CallClientStream", "CallServerStream", "CallBidiStream"}[k])
}

var (
	contextIdent     = contextPackage.Ident("Context")
	interceptorIdent = connectPackage.Ident("ClientInterceptor")
	transportIdent   = connectPackage.Ident("Transport")
	clientIdent      = runtimePackage.Ident("Client")
	newClientIdent   = runtimePackage.Ident("NewClient")
	originIdent      = rpcmeshPackage.Ident("Origin")
	registrarIdent   = rpcmeshPackage.Ident("Registrar")
	registerIdent    = runtimePackage.Ident("RegisterService")
	specIdent        = runtimePackage.Ident("NewMethodSpec")
	notImplIdent     = runtimePackage.Ident("UnimplementedError")
	descriptorIdent  = protoreflectPackage.Ident("ServiceDescriptor")
)

// server writes what the side that implements a service needs.
func (g *generator) server(service *protogen.Service) {
	names := g.pkg.names.services[service]
	fullName := string(service.Desc.FullName())
	doc := linesOf(service.Comments.Leading)

	g.annotate(service, names.server())
	g.comment(text("%s is what an origin of %s implements. Its methods are called concurrently.", names.server(), fullName),
		doc, serviceDeprecation(service, doc))
	g.p("type ", names.server(), " interface {")
	for _, method := range service.Methods {
		g.methodDoc(method)
		g.p(append([]any{g.pkg.names.methods[method].goName}, g.serverSignature(method, true)...)...)
	}
	g.p("}")
	g.p()
	g.unimplemented(service)
	g.comment(text("%s registers srv at reg, a namespace or a group, as an origin of every function of\n%s: of all of them or, if it fails, of none.",
		names.register(), fullName), serviceDeprecation(service, nil))
	g.p("func ", names.register(), "(reg ", registrarIdent, ", srv ", names.server(), ") (*", originIdent, ", error) {")
	g.p("return ", registerIdent, "(reg, srv,")
	for _, method := range service.Methods {
		method, kind := g.pkg.names.methods[method], kindOf(method)
		g.p(kind.bind(), "(", method.spec(), ", ", names.server(), ".", method.goName, "),")
	}
	g.p(")")
	g.p("}")
	g.p()
}

func (g *generator) unimplemented(service *protogen.Service) {
	names := g.pkg.names.services[service]
	g.comment(text("%s fails every method with unimplemented. Embedded in a server, it stands in for the\nmethods that the server does not have, and for those that the service gains.",
		names.unimplemented()), serviceDeprecation(service, nil))
	g.p("type ", names.unimplemented(), " struct{}")
	g.p()
	for _, method := range service.Methods {
		name, kind := g.pkg.names.methods[method], kindOf(method)
		g.p(append([]any{"func (", names.unimplemented(), ") ", name.goName}, append(g.serverSignature(method, false), " {")...)...)
		result := "return nil, "
		if kind == serverStream || kind == bidiStream {
			result = "return "
		}
		g.p(result, notImplIdent, "(", name.procedure(), ")")
		g.p("}")
		g.p()
	}
}

// serverSignature is the signature of a method of the server interface, its parameters named or not.
func (g *generator) serverSignature(method *protogen.Method, named bool) []any {
	var ctx, req, stream string
	if named {
		ctx = "ctx "
		req = "req "
		stream = "stream "
	}
	in, out := method.Input.GoIdent, method.Output.GoIdent
	streamType := g.pkg.names.methods[method].serverStream()
	switch kindOf(method) {
	case clientStream:
		return []any{"(", ctx, contextIdent, ", ", stream, streamType, ") (*", out, ", error)"}
	case serverStream:
		return []any{"(", ctx, contextIdent, ", ", req, "*", in, ", ", stream, streamType, ") error"}
	case bidiStream:
		return []any{"(", ctx, contextIdent, ", ", stream, streamType, ") error"}
	default:
		return []any{"(", ctx, contextIdent, ", ", req, "*", in, ") (*", out, ", error)"}
	}
}

// client writes what the calling side of a service needs.
func (g *generator) client(service *protogen.Service) {
	names := g.pkg.names.services[service]
	fullName := string(service.Desc.FullName())
	doc := linesOf(service.Comments.Leading)

	g.annotate(service, names.client())
	g.comment(text("%s calls %s. It is safe for concurrent use.", names.client(), fullName), doc, serviceDeprecation(service, doc))
	g.p("type ", names.client(), " interface {")
	for _, method := range service.Methods {
		g.methodDoc(method)
		g.p(append([]any{g.pkg.names.methods[method].goName}, g.clientSignature(method)...)...)
	}
	g.p("}")
	g.p()
	g.comment(text("%s returns a client that calls through t: a namespace, a group, a proxy or any other\ntransport. The interceptors are around every call, the first of them outermost.",
		names.newClient()), serviceDeprecation(service, nil))
	g.p("func ", names.newClient(), "(t ", transportIdent, ", interceptors ...", interceptorIdent, ") ", names.client(), " {")
	g.p("return &", names.clientStruct(), "{client: ", newClientIdent, "(t, interceptors...)}")
	g.p("}")
	g.p()
}

func (g *generator) clientSignature(method *protogen.Method) []any {
	in, out := method.Input.GoIdent, method.Output.GoIdent
	streamType := g.pkg.names.methods[method].clientStream()
	switch kindOf(method) {
	case clientStream, bidiStream:
		return []any{"(ctx ", contextIdent, ") (", streamType, ", error)"}
	case serverStream:
		return []any{"(ctx ", contextIdent, ", req *", in, ") (", streamType, ", error)"}
	default:
		return []any{"(ctx ", contextIdent, ", req *", in, ") (*", out, ", error)"}
	}
}

// streams writes the names of a service's stream types.
func (g *generator) streams(service *protogen.Service) {
	for _, method := range service.Methods {
		names := g.pkg.names.methods[method]
		in, out := method.Input.GoIdent, method.Output.GoIdent
		var server, client []any
		switch kindOf(method) {
		case clientStream:
			server = []any{runtimePackage.Ident("ServerReceiveStream"), "[", in, "]"}
			client = []any{runtimePackage.Ident("ClientSendStream"), "[", in, ", ", out, "]"}
		case serverStream:
			server = []any{runtimePackage.Ident("ServerSendStream"), "[", out, "]"}
			client = []any{runtimePackage.Ident("ClientReceiveStream"), "[", out, "]"}
		case bidiStream:
			server = []any{runtimePackage.Ident("ServerBidiStream"), "[", in, ", ", out, "]"}
			client = []any{runtimePackage.Ident("ClientBidiStream"), "[", in, ", ", out, "]"}
		default:
			continue
		}
		deprecated := methodDeprecation(method, nil)
		g.comment(text("%s is the handler's end of a call of %s.", names.serverStream(), method.Desc.FullName()), deprecated)
		g.p(append([]any{"type ", names.serverStream(), " = "}, server...)...)
		g.p()
		g.comment(text("%s is the caller's end of a call of %s.", names.clientStream(), method.Desc.FullName()), deprecated)
		g.p(append([]any{"type ", names.clientStream(), " = "}, client...)...)
		g.p()
	}
}

// internals writes what a service's exported names stand on.
func (g *generator) internals(file *protogen.File, service *protogen.Service) {
	names := g.pkg.names.services[service]
	if len(service.Methods) > 0 {
		g.p("func ", names.descriptor(), "() ", descriptorIdent, " {")
		g.p("return ", file.GoDescriptorIdent, ".Services().ByName(", strconv.Quote(string(service.Desc.Name())), ")")
		g.p("}")
		g.p()
		g.p("var (")
		for _, method := range service.Methods {
			g.p(g.pkg.names.methods[method].spec(), " = ", specIdent, "(", names.descriptor(), ", ", strconv.Quote(string(method.Desc.Name())), ")")
		}
		g.p(")")
		g.p()
	}
	g.p("type ", names.clientStruct(), " struct{ client *", clientIdent, " }")
	g.p()
	for _, method := range service.Methods {
		name, kind := g.pkg.names.methods[method], kindOf(method)
		in, out := method.Input.GoIdent, method.Output.GoIdent
		g.p(append([]any{"func (c *", names.clientStruct(), ") ", name.goName}, append(g.clientSignature(method), " {")...)...)
		switch kind {
		case clientStream, bidiStream:
			g.p("return ", kind.call(), "[", in, ", ", out, "](ctx, c.client, ", name.spec(), ")")
		default:
			g.p("return ", kind.call(), "[", out, "](ctx, c.client, ", name.spec(), ", req)")
		}
		g.p("}")
		g.p()
	}
}
