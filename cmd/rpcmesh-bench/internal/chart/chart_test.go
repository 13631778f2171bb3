package chart

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file instead of comparing with it")

const golden = "testdata/calls.svg"

var calls = Chart{
	Title: "Calls <a second>", Subtitle: "64 callers & 64 bytes",
	Groups: []Group{
		{Name: "direct", Bars: []Bar{
			{Label: "rpcmesh", Amount: 186_000, Text: "186,000", Strong: true},
			{Label: "grpc-go", Amount: 36_000, Text: "36,000"},
			{Label: "none", Text: "–"},
		}},
		{Name: "one relay", Bars: []Bar{{Label: "rpcmesh", Amount: 153_000, Text: "153,000", Strong: true}}},
		{Name: "not measured"},
	},
}

func TestWriteGolden(t *testing.T) {
	var got strings.Builder
	if err := calls.Write(&got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

// What a chart holds can be read by any XML parser and points nowhere else.
func TestStandsOnItsOwn(t *testing.T) {
	for name, c := range map[string]Chart{"calls": calls, "empty": {}} {
		var out strings.Builder
		if err := c.Write(&out); err != nil {
			t.Fatal(err)
		}
		decoder := xml.NewDecoder(strings.NewReader(out.String()))
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			element, ok := token.(xml.StartElement)
			if ok && (element.Name.Local == "script" || element.Name.Local == "image" || element.Name.Local == "use") {
				t.Errorf("%s has an element %s", name, element.Name.Local)
			}
		}
		for _, elsewhere := range []string{"url(", "@import", "@font-face", "href"} {
			if strings.Contains(out.String(), elsewhere) {
				t.Errorf("%s has %q", name, elsewhere)
			}
		}
	}
}

func TestDescription(t *testing.T) {
	const want = "64 callers & 64 bytes. direct: rpcmesh 186,000, grpc-go 36,000, none –. one relay: rpcmesh 153,000."
	if got := calls.description(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
