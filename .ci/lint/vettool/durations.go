package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// durations finds arithmetic on a time.Duration which may wrap around: sums, products and shifts of what is no
// constant. Package duration does them up to the longest duration. Tests, and package duration, are left alone,
// and lines that end with `// short: reason`.
var durations = &analysis.Analyzer{
	Name: "durations",
	Doc:  "finds sums and products of durations that may wrap around",
	Run:  findDurations,
}

var risky = map[token.Token]bool{
	token.ADD: true, token.MUL: true, token.SHL: true, token.ADD_ASSIGN: true, token.MUL_ASSIGN: true, token.SHL_ASSIGN: true,
}

func findDurations(pass *analysis.Pass) (any, error) {
	if strings.HasSuffix(pass.Pkg.Path(), "/internal/duration") {
		return nil, nil
	}
	for _, file := range pass.Files {
		if isTest(pass, file) {
			continue
		}
		excused := excuses(pass, file, "// short: ")
		check := func(at token.Pos, e ast.Expr) {
			v := pass.TypesInfo.Types[e]
			if v.Value == nil && isDuration(v.Type) && !excused[pass.Fset.Position(at).Line] {
				pass.Reportf(at, "it may wrap around: use duration.Add or duration.Times, or end the line with `// short: reason`")
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if risky[n.Op] && !isMore(pass, n) {
					check(n.OpPos, n)
				}
			case *ast.AssignStmt:
				if risky[n.Tok] {
					check(n.TokPos, n.Lhs[0])
				}
			}
			return true
		})
	}
	return nil, nil
}

// isMore reports whether a sum is of a part and a constant, as in d/2 + 1.
func isMore(pass *analysis.Pass, sum *ast.BinaryExpr) bool {
	is := func(part, more ast.Expr) bool {
		e, ok := part.(*ast.BinaryExpr)
		return ok && e.Op == token.QUO && pass.TypesInfo.Types[more].Value != nil
	}
	return sum.Op == token.ADD && (is(sum.X, sum.Y) || is(sum.Y, sum.X))
}

func isDuration(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Name() == "Duration" && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "time"
}
