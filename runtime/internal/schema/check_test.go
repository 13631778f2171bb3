package schema

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/descriptorpb"
)

// TestCheckDefinitions: the limits of what is built hold for files in any order, one file at a time and for all.
func TestCheckDefinitions(t *testing.T) {
	nested := strings.Repeat(`nested_type { name: "N" `, MaxNesting) + strings.Repeat("}", MaxNesting)
	long := strings.Repeat("n", MaxName)
	for _, test := range []struct {
		name  string
		files []string
		limit string // what there is too much of
	}{
		{name: "an import that is not before it", files: []string{`name: "a" dependency: "b" message_type { name: "M" }`, `name: "b"`}},
		{name: "nesting", files: []string{`name: "a" message_type { name: "M" ` + nested + ` }`}, limit: "messages in one another"},
		{name: "a long name", files: []string{`name: "a" message_type { name: "` + long + `n" }`}, limit: "bytes in a name"},
		{name: "a long package", files: []string{`name: "a" package: "` + long + `n"`}, limit: "bytes in a name"},
		{name: "all names", files: []string{`name: "a" message_type { name: "` + long + `" }`, `name: "b" message_type { name: "` + long + `" }`}, limit: "bytes in all names"},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := &descriptorpb.FileDescriptorSet{}
			for _, f := range test.files {
				set.File = append(set.File, fileOf(t, f))
			}
			maxNames := MaxNames
			if test.name == "all names" {
				maxNames = 2 * MaxName
			}
			err := CheckDefinitions(set, maxNames)
			exceeded, ok := errors.AsType[*LimitError](err)
			if ok != (test.limit != "") || ok && exceeded.What != test.limit || !ok && err != nil {
				t.Errorf("got %v, want a limit on %q", err, test.limit)
			}
		})
	}
}
