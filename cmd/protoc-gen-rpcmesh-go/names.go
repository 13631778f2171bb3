package main

import (
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// packageNames holds the Go names of all that one package of stubs declares. The command's
// documentation gives the rules.
type packageNames struct {
	services map[*protogen.Service]serviceNames
	methods  map[*protogen.Method]methodNames
	taken    nameSet
}

// newPackageNames names what is generated for files, which are all of one package, in this order. If
// withMessages, the stubs share the package with the messages.
func newPackageNames(files []*protogen.File, withMessages bool) *packageNames {
	n := &packageNames{
		services: make(map[*protogen.Service]serviceNames),
		methods:  make(map[*protogen.Method]methodNames),
		taken:    make(nameSet),
	}
	var services []*protogen.Service
	for _, file := range files {
		if withMessages {
			n.taken.addMessages(file)
		}
		services = append(services, file.Services...)
	}
	n.nameServices(services)
	n.nameMethods(services)
	return n
}

func (n *packageNames) nameServices(services []*protogen.Service) {
	claim(services, func(service *protogen.Service, underscores string) bool {
		names := serviceNames{stem: service.GoName + underscores}
		if !n.taken.add(names.all()...) {
			return false
		}
		n.services[service] = names
		return true
	})
}

func (n *packageNames) nameMethods(services []*protogen.Service) {
	goNames := make(map[*protogen.Method]string)
	var methods []*protogen.Method
	for _, service := range services {
		methods = append(methods, service.Methods...)
		inService := make(nameSet)
		claim(service.Methods, func(method *protogen.Method, underscores string) bool {
			goNames[method] = method.GoName + underscores
			return inService.add(goNames[method])
		})
	}
	claim(methods, func(method *protogen.Method, underscores string) bool {
		names := methodNames{
			goName: goNames[method],
			stem:   n.services[method.Parent].stem + underscores + goNames[method],
		}
		if !n.taken.add(names.all(method)...) {
			return false
		}
		n.methods[method] = names
		return true
	})
}

// claim gives each item a name by offering it ever more underscores until it takes them. All that can
// have their plain name get it before any other is served, so that nobody's plain name is lost to a
// name made up for another.
func claim[T any](items []T, take func(item T, underscores string) bool) {
	var others []T
	for _, item := range items {
		if !take(item, "") {
			others = append(others, item)
		}
	}
	for _, item := range others {
		underscores := "_"
		for !take(item, underscores) {
			underscores += "_"
		}
	}
}

// nameSet is the set of names that a package or an interface declares.
type nameSet map[string]bool

// add adds all of names if none of them is there, and says whether it did.
func (s nameSet) add(names ...string) bool {
	for _, name := range names {
		if s[name] {
			return false
		}
	}
	for _, name := range names {
		s[name] = true
	}
	return true
}

// addMessages adds what protoc-gen-go declares for file.
func (s nameSet) addMessages(file *protogen.File) {
	s[file.GoDescriptorIdent.GoName] = true
	s.addEnums(file.Enums)
	s.addExtensions(file.Extensions)
	for _, message := range file.Messages {
		s.addMessage(message)
	}
}

func (s nameSet) addMessage(message *protogen.Message) {
	s[message.GoIdent.GoName] = true
	s[message.GoIdent.GoName+"_builder"] = true
	for _, field := range message.Fields {
		s[field.GoIdent.GoName] = true // the wrapper of a member of a oneof
		s["Default_"+field.GoIdent.GoName] = true
	}
	for _, oneof := range message.Oneofs {
		s["is"+oneof.GoIdent.GoName] = true
		s["case_"+oneof.GoIdent.GoName] = true
	}
	s.addEnums(message.Enums)
	s.addExtensions(message.Extensions)
	for _, nested := range message.Messages {
		s.addMessage(nested)
	}
}

func (s nameSet) addEnums(enums []*protogen.Enum) {
	for _, enum := range enums {
		s[enum.GoIdent.GoName] = true
		s[enum.GoIdent.GoName+"_name"] = true
		s[enum.GoIdent.GoName+"_value"] = true
		for _, value := range enum.Values {
			s[value.GoIdent.GoName] = true
			s[value.PrefixedAlias.GoName] = true
		}
	}
}

func (s nameSet) addExtensions(extensions []*protogen.Extension) {
	for _, extension := range extensions {
		s["E_"+extension.GoIdent.GoName] = true
		s["Default_"+extension.GoIdent.GoName] = true
	}
}

// serviceNames are the names declared for a service as a whole.
type serviceNames struct{ stem string }

func (n serviceNames) name() string          { return n.stem + "Name" }
func (n serviceNames) server() string        { return n.stem + "Server" }
func (n serviceNames) unimplemented() string { return "Unimplemented" + n.stem + "Server" }
func (n serviceNames) register() string      { return "Register" + n.stem + "Origin" }
func (n serviceNames) client() string        { return n.stem + "Client" }
func (n serviceNames) newClient() string     { return "New" + n.stem + "Client" }
func (n serviceNames) clientStruct() string  { return unexported(n.stem) + "Client" }
func (n serviceNames) descriptor() string    { return unexported(n.stem) + "Service" }

func (n serviceNames) all() []string {
	return []string{
		n.name(), n.server(), n.unimplemented(), n.register(),
		n.client(), n.newClient(), n.clientStruct(), n.descriptor(),
	}
}

// methodNames are the names declared for a method.
type methodNames struct {
	goName string // in the interfaces
	stem   string // of what the package declares
}

func (n methodNames) procedure() string    { return n.stem + "Procedure" }
func (n methodNames) spec() string         { return unexported(n.stem) + "Spec" }
func (n methodNames) serverStream() string { return n.stem + "ServerStream" }
func (n methodNames) clientStream() string { return n.stem + "ClientStream" }

func (n methodNames) all(method *protogen.Method) []string {
	names := []string{n.procedure(), n.spec()}
	if kindOf(method) != unary {
		names = append(names, n.serverStream(), n.clientStream())
	}
	return names
}

// unexported lowers the first letter of a name, which protogen has made upper-case ASCII.
func unexported(name string) string { return strings.ToLower(name[:1]) + name[1:] }
