// Package errortest is the table of what rpcmesh says when something is wrong: each row is one mistake, or one
// condition, and the code, the text and the log that come of it with the default configuration. Tests of the
// packages that say it hold the rows, and docs/errors.md is generated from them.
//
// To add a row, add it to a group here, and what brings it about to the test that holds the group (see
// [Check]); then run "go generate ./runtime/internal/errortest". A group belongs to one test. A new one is
// listed in [Groups].
package errortest

import (
	"strings"

	"connectrpc.com/connect/v2"
)

// Row is one mistake, and what is said of it.
type Row struct {
	// ID names the row to its test: a word or a few, joined by "-". It is its group's alone.
	ID string
	// When is the mistake, or what happens, as a clause: "A node is configured without a secret".
	When string
	// Code is what fails with it: the name of a [connect.Code]; for HTTP alone its status, like "415"; for the
	// command line "exit 2". "" where nothing fails, and the log alone has it.
	Code string
	// Text is the error's message, whole. "…" stands for what differs from one time to the next.
	Text string
	// Log is the line that is logged at the default level, from warnings up: its message, and what follows of its
	// attributes. "…" stands for what differs or matters less. "" where nothing is logged.
	Log string
	// Do is what to do about it: a sentence or two. It may say more than the text has room for.
	Do string
}

// Group is rows that one test holds, and a section of docs/errors.md.
type Group struct {
	// Title and About are the section's heading and its first paragraph, which may be "".
	Title, About string
	Rows         []Row
}

// Outcome is what came of a mistake.
type Outcome struct {
	// Code and Text are as in [Row].
	Code, Text string
	// Log is all that was logged at the default level, in slog's text format; "" where that is not looked at.
	Log string
}

// Failed is the outcome of what failed with err.
func Failed(err error, log string) Outcome {
	o := Outcome{Log: log}
	if err == nil {
		return o
	}
	o.Code, o.Text = connect.CodeOf(err).String(), err.Error()
	o.Text = strings.TrimPrefix(o.Text, o.Code+": ")
	return o
}
