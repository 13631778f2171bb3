package report

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// Where the documentation has what a run found, from a checkout's root on.
const (
	pageFile   = "docs/performance.md"
	readmeFile = "README.md"
	chartsDir  = "docs/charts"
	// FiguresFile has the figures that the pages are made from, without the single samples.
	FiguresFile = "docs/performance.json"
)

// WriteDocument puts the report's tables and charts into the documentation of the checkout at root. What stands
// outside of the markers for them stays as it is.
func (r *Report) WriteDocument(root string) error {
	for _, file := range []string{pageFile, readmeFile} {
		if err := r.fill(filepath.Join(root, file)); err != nil {
			return err
		}
	}
	if err := r.WriteCharts(filepath.Join(root, chartsDir)); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(root, FiguresFile))
	if err != nil {
		return err
	}
	if err := r.withoutSamples().WriteJSON(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (r *Report) fill(file string) error {
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	after, err := r.filled(string(before))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(after), 0o644) //nolint:gosec // documentation is no secret
}

// generated matches a part of a page from its first marker to its last.
var generated = regexp.MustCompile(`(?s)<!-- figures: (\w+) -->\n.*?<!-- end of figures -->\n`)

// filled is the page with what this report has between its markers.
func (r *Report) filled(page string) (string, error) {
	parts := r.parts()
	var unknown error
	page = generated.ReplaceAllStringFunc(page, func(part string) string {
		name := generated.FindStringSubmatch(part)[1]
		text, ok := parts[name]
		if !ok {
			unknown = fmt.Errorf("no figures are called %q", name)
			return part
		}
		return fmt.Sprintf("<!-- figures: %s -->\n\n%s\n<!-- end of figures -->\n", name, text)
	})
	return page, unknown
}

func (r *Report) withoutSamples() *Report {
	short := *r
	short.Cells = make([]*Cell, len(r.Cells))
	for i, c := range r.Cells {
		medians := *c
		medians.Samples = nil
		short.Cells[i] = &medians
	}
	return &short
}
