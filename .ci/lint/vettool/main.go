// Vettool is a tool for go vet, which checks what the project's rules ask and no linter knows.
package main

import (
	"go/ast"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/unitchecker"
)

func main() { unitchecker.Main(durations, locks) }

// isTest reports whether a file is of a test, or of a package that serves tests.
func isTest(pass *analysis.Pass, file *ast.File) bool {
	name := pass.Fset.Position(file.Pos()).Filename
	return strings.HasSuffix(name, "_test.go") || strings.Contains(name, "test/")
}

// excuses returns the lines that end with a comment which gives a reason after prefix.
func excuses(pass *analysis.Pass, file *ast.File, prefix string) map[int]bool {
	lines := map[int]bool{}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, prefix) {
				lines[pass.Fset.Position(c.Pos()).Line] = true
			}
		}
	}
	return lines
}
