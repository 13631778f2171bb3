package main

import (
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// docOf returns the comments of a declaration as lines of text.
func docOf(comments protogen.CommentSet) []string {
	return paragraphs(linesOf(comments.Leading), linesOf(comments.Trailing))
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

// deprecation returns the paragraph that marks what is deprecated, unless doc has one.
func deprecation(deprecated bool, doc []string) []string {
	if !deprecated {
		return nil
	}
	for _, line := range doc {
		if strings.HasPrefix(strings.TrimSpace(line), "Deprecated:") {
			return nil
		}
	}
	return []string{" Deprecated: its .proto file says not to use it."}
}

func isDeprecatedFile(file *protogen.File) bool {
	return file.Proto.GetOptions().GetDeprecated()
}

func isDeprecatedService(file *protogen.File, service *protogen.Service) bool {
	opts, _ := service.Desc.Options().(*descriptorpb.ServiceOptions)
	return opts.GetDeprecated() || isDeprecatedFile(file)
}

func isDeprecatedMethod(method *protogen.Method) bool {
	opts, _ := method.Desc.Options().(*descriptorpb.MethodOptions)
	return opts.GetDeprecated()
}

// headComments returns the comments at a file's syntax or edition line and at its package line: those
// that stand apart before it, and the one that belongs to it.
func headComments(file *protogen.File, field protoreflect.FieldNumber) (detached [][]string, doc []string) {
	location := file.Desc.SourceLocations().ByPath(protoreflect.SourcePath{int32(field)})
	for _, comment := range location.LeadingDetachedComments {
		detached = append(detached, linesOf(protogen.Comments(comment)))
	}
	return detached, linesOf(protogen.Comments(location.LeadingComments))
}
