package mesh

import (
	"strings"
	"testing"
)

func TestCheckNames(t *testing.T) {
	for _, test := range []struct {
		name                 string
		namespace, procedure bool
	}{
		{"default", true, false},
		{"a", true, false},
		{"9-lives_of.cat", true, false},
		{"9-lives_of.Cat", false, false},
		{"Public", false, false},
		{strings.Repeat("n", 64), true, false},
		{strings.Repeat("n", 65), false, false},
		{"", false, false},
		{"-a", false, false},
		{"a b", false, false},
		{"a/b", false, false},
		{"ä", false, false},
		{"/pkg.v1.Service/Method", false, true},
		{"/Service/Method_2", false, true},
		{"/" + strings.Repeat("s", 508) + "/Me", false, true},
		{"/" + strings.Repeat("s", 509) + "/Me", false, false},
		{"pkg.Service/Method", false, false},
		{"/pkg.Service", false, false},
		{"/pkg.Service/", false, false},
		{"/pkg..Service/Method", false, false},
		{"/.Service/Method", false, false},
		{"//Method", false, false},
		{"/pkg.Service/Method/More", false, false},
		{"/pkg.Service/2nd", false, false},
		{"/pkg.Service/Method\x00", false, false},
	} {
		if err := CheckNamespace(test.name); (err == nil) != test.namespace {
			t.Errorf("namespace %q: %v", test.name, err)
		}
		if err := CheckProcedure(test.name); (err == nil) != test.procedure {
			t.Errorf("procedure %q: %v", test.name, err)
		}
	}
}
