package errortest

import "strings"

// Groups are all groups, in the order of the page.
var Groups = []*Group{
	&Configuration, &Names, &LinkMistakes, &LinkTroubles, &Absence, &Calls,
	&GatewayConfiguration, &GatewayCalls, &AdoptConfiguration, &Command,
}

const head = `<!-- Generated from the table in runtime/internal/errortest by "go generate ./runtime/internal/errortest". -->

# Errors

What rpcmesh says when something is wrong, and what to do about it. Everything here was brought about with the
default configuration by a test, which compares the texts.

An error of a call is a ` + "`*connect.Error`" + ` with a code; one that came of the mesh, and not of the called
function's handler, also says how far the call had come (` + "`rpcmesh.FailureOf`" + `). What stands as … differs from
one time to the next. Logs go to ` + "`slog.Default()`" + `, from warnings up, unless ` + "`Config.Logger`" + ` is set.
`

// Document returns docs/errors.md.
func Document() string {
	var b strings.Builder
	b.WriteString(head)
	for _, g := range Groups {
		b.WriteString("\n## " + g.Title + "\n")
		if g.About != "" {
			b.WriteString("\n" + g.About + "\n")
		}
		for i := range g.Rows {
			g.Rows[i].write(&b)
		}
	}
	return b.String()
}

func (r *Row) write(b *strings.Builder) {
	b.WriteString("\n### " + r.When + "\n\n")
	if r.Code != "" {
		b.WriteString("`" + r.Code + "`")
	}
	if r.Text != "" {
		if r.Code != "" {
			b.WriteString(": ")
		}
		b.WriteString("`" + strings.ReplaceAll(r.Text, "\n", " ") + "`")
	}
	if r.Code != "" || r.Text != "" {
		b.WriteString("\n\n")
	}
	if r.Log != "" {
		b.WriteString("Logged: `" + r.Log + "`\n\n")
	}
	b.WriteString(r.Do + "\n")
}
