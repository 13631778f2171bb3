package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

func TestFilled(t *testing.T) {
	const page = "before\n<!-- figures: summary -->\nold | figures\n<!-- end of figures -->\nbetween\n" +
		"<!-- figures: goals -->\n<!-- end of figures -->\nafter\n"
	got, err := sample().filled(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"before\n<!-- figures: summary -->\n\n|", "| 360,000 (5.00) | 60,000 (25.0) |", "\n\n<!-- end of figures -->\nbetween\n",
		"Of 2 goals that this run judges, 1 are reached", "| **6.00** |", "after\n",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("the page lacks %q:\n%s", part, got)
		}
	}
	if strings.Contains(got, "old | figures") {
		t.Error("the page still has what was between its markers")
	}
	again, err := sample().filled(got)
	if err != nil || again != got {
		t.Errorf("filled twice it differs: %v\n%s", err, cmp.Diff(got, again))
	}
	if _, err := sample().filled("<!-- figures: unheard -->\n<!-- end of figures -->\n"); err == nil {
		t.Error("figures that nobody makes pass")
	}
}

func TestReadJSON(t *testing.T) {
	var out strings.Builder
	if err := sample().withoutSamples().WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	got, err := ReadJSON(strings.NewReader(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	var before, after strings.Builder
	if err := sample().WriteText(&before); err != nil {
		t.Fatal(err)
	}
	if err := got.WriteText(&after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.String(), after.String()); diff != "" {
		t.Error(diff)
	}
	if _, err := ReadJSON(strings.NewReader("{")); err == nil {
		t.Error("half a report passes")
	}
}

// The documentation is what its figures give.
func TestDocumentation(t *testing.T) {
	const root = "../../../.."
	f, err := os.Open(filepath.Join(root, FiguresFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ReadJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{pageFile, readmeFile} {
		page := read(t, filepath.Join(root, file))
		want, err := r.filled(page)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, page); diff != "" {
			t.Errorf("%s is not what -from %s -document makes:\n%s", file, FiguresFile, diff)
		}
	}
	drawn := t.TempDir()
	if err := r.WriteCharts(drawn); err != nil {
		t.Fatal(err)
	}
	for _, p := range plots() {
		if r.image(p) == "" {
			continue
		}
		if diff := cmp.Diff(read(t, filepath.Join(drawn, p.file)), read(t, filepath.Join(root, chartsDir, p.file))); diff != "" {
			t.Errorf("%s is not what -from %s -document draws:\n%s", p.file, FiguresFile, diff)
		}
	}
}

func TestWriteDocument(t *testing.T) {
	root := t.TempDir()
	const page = "<!-- figures: environment -->\n<!-- end of figures -->\n"
	if err := os.Mkdir(filepath.Join(root, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{pageFile, readmeFile} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := sample().WriteDocument(root); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(root, readmeFile)); !strings.Contains(got, "A Processor") {
		t.Errorf("the README has %q", got)
	}
	if got := read(t, filepath.Join(root, FiguresFile)); strings.Contains(got, "samples") {
		t.Error("the figures have single samples")
	}
	if got := read(t, filepath.Join(root, chartsDir, "callers64.svg")); !strings.Contains(got, "rpcmesh 360,000") {
		t.Errorf("the chart has %q", got)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the pages show is what the documentation's command measures.
func TestPagesShowWhatIsMeasured(t *testing.T) {
	measured := make(map[string]scenario.Scenario)
	for _, s := range scenario.All([]int{1, 2, 4, 8, 16, 32, 64}) {
		measured[s.Name()] = s
	}
	var shown []string
	for _, lines := range [][]line{
		summaryLines(), callLines(), loneLines(), streamLines(), longLines(), extremeLines(), gatewayLines(), tlsLines(),
	} {
		for _, l := range lines {
			shown = append(shown, l.scenario.Name())
		}
	}
	for _, p := range plots() {
		for _, g := range p.groups {
			shown = append(shown, g.scenario.Name())
		}
	}
	for name := range GoalScenarios() {
		shown = append(shown, name)
	}
	for _, name := range shown {
		if s, ok := measured[name]; !ok || !s.Table.Has(ours) {
			t.Errorf("%s is shown, and not among -scenarios table", name)
		}
	}
}
