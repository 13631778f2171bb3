package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// locks holds the rules that let a reader see locks by names alone:
//
//   - A function releases a lock that it took itself.
//   - A function whose name ends with Locked neither takes nor releases a lock of its receiver.
//   - It is called by functions whose names end so, or that took a lock before.
//
// Tests are left alone, and lines that end with `// lock: reason`. A function literal counts as a part of the
// function that it stands in, for it may be deferred there or called under its lock.
var locks = &analysis.Analyzer{
	Name: "locks",
	Doc:  "finds locks that another function releases, and calls of Locked functions without a lock",
	Run:  findLocks,
}

func findLocks(pass *analysis.Pass) (any, error) {
	for _, file := range pass.Files {
		if isTest(pass, file) {
			continue
		}
		excused := excuses(pass, file, "// lock: ")
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				checkLocks(pass, f, excused)
			}
		}
	}
	return nil, nil
}

// body is a function's, as far as it has been read.
type body struct {
	pass     *analysis.Pass
	locked   bool            // the function is called with a lock held
	receiver string          // its receiver's name
	taken    map[string]bool // the mutexes that it took, as they are written
	excused  map[int]bool
}

func checkLocks(pass *analysis.Pass, f *ast.FuncDecl, excused map[int]bool) {
	b := &body{pass: pass, locked: isLocked(f.Name.Name), taken: map[string]bool{}, excused: excused}
	if f.Recv != nil && len(f.Recv.List[0].Names) == 1 {
		b.receiver = f.Recv.List[0].Names[0].Name
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			b.call(call)
		}
		return true
	})
}

func (b *body) call(call *ast.CallExpr) {
	callee, ok := b.callee(call).(*types.Func)
	if !ok {
		return
	}
	selector, isMethod := ast.Unparen(call.Fun).(*ast.SelectorExpr)
	switch isMutex := isMethod && ofMutex(callee); {
	case isMutex && takes[callee.Name()]:
		mutex := types.ExprString(selector.X)
		b.taken[mutex] = true
		b.refuse(call.Pos(), b.locked && b.isOwn(mutex), "a function whose name ends with Locked takes no lock of its receiver")
	case isMutex && releases[callee.Name()]:
		b.refuse(call.Pos(), !b.taken[types.ExprString(selector.X)], "the function that takes a lock releases it")
	case isLocked(callee.Name()):
		b.refuse(call.Pos(), !b.locked && len(b.taken) == 0, "it is called with a lock held: take it before, or end this function's name with Locked")
	}
}

func (b *body) callee(call *ast.CallExpr) types.Object {
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		return b.pass.TypesInfo.Uses[fun]
	case *ast.SelectorExpr:
		return b.pass.TypesInfo.Uses[fun.Sel]
	}
	return nil
}

func (b *body) refuse(at token.Pos, wrong bool, message string) {
	if wrong && !b.excused[b.pass.Fset.Position(at).Line] {
		b.pass.Reportf(at, "%s, or end the line with `// lock: reason`", message)
	}
}

// isOwn reports whether a mutex is the receiver, or a field of it.
func (b *body) isOwn(mutex string) bool {
	field, ok := strings.CutPrefix(mutex, b.receiver)
	return ok && b.receiver != "" && (field == "" || field[0] == '.' && !strings.Contains(field[1:], "."))
}

var (
	takes    = map[string]bool{"Lock": true, "RLock": true, "TryLock": true, "TryRLock": true}
	releases = map[string]bool{"Unlock": true, "RUnlock": true}
)

// ofMutex reports whether a method is that of a mutex of package sync, or of its Locker.
func ofMutex(f *types.Func) bool {
	if f.Pkg() == nil || f.Pkg().Path() != "sync" {
		return false
	}
	receiver := f.Signature().Recv()
	if receiver == nil {
		return false
	}
	t := receiver.Type()
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	if !ok {
		return false
	}
	name := named.Obj().Name()
	return name == "Mutex" || name == "RWMutex" || name == "Locker"
}

func isLocked(name string) bool { return strings.HasSuffix(name, "Locked") }
