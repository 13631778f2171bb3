package main

import (
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// methodDoc returns the comments before and behind a method.
func methodDoc(method *protogen.Method) []string {
	return paragraphs(linesOf(method.Comments.Leading), linesOf(method.Comments.Trailing))
}

// linesOf splits a comment into lines as they stand behind "//". A line begins with white space, so
// that none can become a directive of the Go tools.
func linesOf(comment protogen.Comments) []string {
	text := strings.TrimRight(strings.ReplaceAll(string(comment), "\r", ""), " \t\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		line = strings.TrimRight(line, " \t")
		if line != "" && line[0] != ' ' && line[0] != '\t' {
			line = " " + line
		}
		lines[i] = line
	}
	return lines
}

// paragraphs joins texts, an empty line between any two.
func paragraphs(texts ...[]string) []string {
	var all []string
	for _, text := range texts {
		if len(text) > 0 && len(all) > 0 {
			all = append(all, "")
		}
		all = append(all, text...)
	}
	return all
}

// deprecation returns the paragraph that marks what is deprecated, unless doc has one. Its words are
// protoc-gen-go's.
func deprecation(deprecated bool, file protoreflect.FileDescriptor, doc []string) []string {
	if !deprecated {
		return nil
	}
	for _, line := range doc {
		if strings.HasPrefix(strings.TrimSpace(line), "Deprecated:") {
			return nil
		}
	}
	return []string{" Deprecated: Marked as deprecated in " + file.Path() + "."}
}

// serviceDeprecation is the deprecation of a service: its own or its file's.
func serviceDeprecation(service *protogen.Service, doc []string) []string {
	file := service.Desc.ParentFile()
	opts, _ := service.Desc.Options().(*descriptorpb.ServiceOptions)
	return deprecation(opts.GetDeprecated() || isDeprecatedFile(file), file, doc)
}

func methodDeprecation(method *protogen.Method, doc []string) []string {
	opts, _ := method.Desc.Options().(*descriptorpb.MethodOptions)
	return deprecation(opts.GetDeprecated(), method.Desc.ParentFile(), doc)
}

func isDeprecatedFile(file protoreflect.FileDescriptor) bool {
	opts, _ := file.Options().(*descriptorpb.FileOptions)
	return opts.GetDeprecated()
}

// packageDoc makes the comment of a .proto file's package one of the Go package name, which stubs of it go into: as the Go
// tools want it, it begins with that name.
func packageDoc(name protogen.GoPackageName, of protoreflect.FullName, doc []string) []string {
	if len(doc) == 0 {
		return nil
	}
	if rest, ok := strings.CutPrefix(doc[0], " Package "+string(of)+" "); ok {
		return append([]string{" Package " + string(name) + " " + rest}, doc[1:]...)
	}
	return paragraphs([]string{" Package " + string(name) + " has the servers and clients of " + string(of) + "."}, doc)
}

// headComments returns the comments at a file's syntax or edition line and at its package line: those
// that stand apart before it, and the one that belongs to it.
func headComments(file protoreflect.FileDescriptor, field protoreflect.FieldNumber) (detached [][]string, doc []string) {
	location := file.SourceLocations().ByPath(protoreflect.SourcePath{int32(field)})
	for _, comment := range location.LeadingDetachedComments {
		detached = append(detached, linesOf(protogen.Comments(comment)))
	}
	return detached, linesOf(protogen.Comments(location.LeadingComments))
}
