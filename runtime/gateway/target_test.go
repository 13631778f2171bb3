package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for path, want := range map[string]target{
		"/a.B/C":              {"", "/a.B/C"},
		"/ns/public/a.B/C":    {"public", "/a.B/C"},
		"/ns/C":               {"", "/ns/C"}, // a service called ns
		"/ns/ns/ns/ns":        {"ns", "/ns/ns"},
		"":                    {},
		"/":                   {},
		"/a.B":                {},
		"/a.B/":               {},
		"//C":                 {},
		"a.B/C":               {},
		"/a.B/C/":             {},
		"/a.B/C/D":            {},
		"/ns/public/a.B":      {},
		"/ns//a.B/C":          {},
		"/ns/public//C":       {},
		"/ns/public/a.B/":     {},
		"/ns/public/a.B/C/":   {},
		"/NS/public/a.B/C":    {},
		"/ns/public/ns/b/a/c": {},
		"/" + strings.Repeat("a", maxProcedure) + "/C": {},
	} {
		if got, ok := parsePath(path); got != want || ok != (want.procedure != "") {
			t.Errorf("%.40q: %+v, %v", path, got, ok)
		}
	}
}

// FuzzTarget takes requests apart: what is found is a namespace and a procedure, and spells the path.
func FuzzTarget(f *testing.F) {
	f.Add("/ns/public/a.B/C", "public")
	f.Add("/a.B/C", "")
	f.Add("/ns/%2F/a%2FB/C", "x")
	f.Fuzz(func(t *testing.T, raw, header string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		r := &http.Request{URL: u, Header: http.Header{}}
		if header != "" {
			r.Header[namespaceHeader] = []string{header}
		}
		got, found, err := requestTarget(r)
		if !found || err != nil {
			return
		}
		if strings.Count(got.procedure, "/") != 2 || got.procedure[0] != '/' || strings.HasSuffix(got.procedure, "/") {
			t.Fatalf("%q: procedure %q", raw, got.procedure)
		}
		if u.Path != got.procedure && u.Path != "/ns/"+got.namespace+got.procedure {
			t.Fatalf("%q was taken for %+v", raw, got)
		}
		if header != "" && got.namespace != header {
			t.Fatalf("%q with the header %q: %+v", raw, header, got)
		}
	})
}

// FuzzBearer checks that only tokens are taken for tokens.
func FuzzBearer(f *testing.F) {
	f.Add("Bearer abc")
	f.Add("bearer  a=b ")
	f.Fuzz(func(t *testing.T, value string) {
		token, err := bearer(http.Header{"Authorization": {value}})
		if (err == nil) != (token != "") {
			t.Fatalf("%q: %q, %v", value, token, err)
		}
		if strings.ContainsAny(token, " \t\r\n\",") || len(token) > maxToken || !strings.Contains(value, token) {
			t.Fatalf("%q: token %q", value, token)
		}
	})
}
