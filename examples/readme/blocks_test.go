package readme

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

const readmeFile = "../../README.md"

// block is a fenced block of the README.
type block struct {
	language string
	file     string // what it is to be saved as, if the text before it says so
	section  string
	text     string
}

var (
	fence  = regexp.MustCompile("^```(\\w*)$")
	saveAs = regexp.MustCompile("this as `([^`]+)`:$")
)

// blocks returns all blocks of the README in their order.
func blocks(t *testing.T) []block {
	t.Helper()
	readme, err := os.ReadFile(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	var section, file string
	var open *block
	for line := range strings.Lines(string(readme)) {
		text := strings.TrimSuffix(line, "\n")
		switch m := fence.FindStringSubmatch(text); {
		case m != nil && open == nil:
			open = &block{language: m[1], file: file, section: section}
			file = ""
		case m != nil:
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line
		case strings.HasPrefix(text, "## "):
			section = strings.TrimPrefix(text, "## ")
		case saveAs.MatchString(text):
			file = saveAs.FindStringSubmatch(text)[1]
		}
	}
	if open != nil {
		t.Fatalf("the block in %q does not end", open.section)
	}
	return all
}

// inFunction makes a Go file of a fragment: a function of its own that uses whatever it declares.
func inFunction(t *testing.T, fragment string, number int) string {
	t.Helper()
	const head = `package fragments

import (
	"context"
	"net/http"

	greetv1 "example.com/hello/gen/greet/v1"
	"example.com/hello/gen/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
)

type greeter%[1]d struct{ greetv1rpcmesh.UnimplementedGreeterServer }

func fragment%[1]d(ctx context.Context, node *rpcmesh.Node) error {
	type greeter = greeter%[1]d
	var err error
	_, _, _ = ctx, err, &greetv1.GreetRequest{}
	_, _, _ = http.NewServeMux, gateway.Mount, adopt.New
	{
`
	start := fmt.Sprintf(head, number)
	const end = "}\nreturn nil\n}\n"
	file, err := parser.ParseFile(token.NewFileSet(), "", start+fragment+end, 0)
	if err != nil {
		t.Fatalf("%v, in\n%s", err, fragment)
	}
	function := file.Decls[len(file.Decls)-1].(*ast.FuncDecl)
	statements := function.Body.List
	block := statements[len(statements)-2].(*ast.BlockStmt)
	uses := ""
	for _, statement := range block.List {
		if assign, ok := statement.(*ast.AssignStmt); ok && assign.Tok == token.DEFINE {
			for _, name := range assign.Lhs {
				uses += "_ = " + name.(*ast.Ident).Name + "\n"
			}
		}
	}
	return start + fragment + uses + end
}
