package interop

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const root = "../../.."

// TestReadme runs each command of the README's section about callers from outside as it stands there, and
// compares what it writes with what the README says. Spaces are left out of account.
func TestReadme(t *testing.T) {
	need(t, "curl")
	bin := t.TempDir()
	for tool, path := range map[string]string{
		"grpcurl": goTool(t, ".", "grpcurl"),
		"buf":     goTool(t, root+"/.ci/buf", "buf"),
	} {
		if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	blocks := shellBlocks(t, "## Callers from outside")
	if len(blocks) != 2 {
		t.Fatalf("the section has %d blocks of commands", len(blocks))
	}
	ring(t, strings.TrimSpace(blocks[0]))
	commands := 0
	for command, want := range commandsOf(blocks[1]) {
		commands++
		if got := run(t, true, nil, "bash", "-c", command); packed(got) != packed(want) {
			t.Errorf("%s\nwrites\n%s\nand not\n%s", command, got, want)
		}
	}
	if commands < 5 {
		t.Errorf("there are %d commands", commands)
	}
}

// shellBlocks returns the blocks of commands in a section of the README.
func shellBlocks(t *testing.T, heading string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the README has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, part := range strings.Split(section, "```sh\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	return blocks
}

// commandsOf returns each command of a block with what it is said to write.
func commandsOf(block string) map[string]string {
	commands := map[string]string{}
	last := ""
	for line := range strings.SplitSeq(block, "\n") {
		output, is := strings.CutPrefix(line, "#> ")
		switch {
		case is:
			commands[last] += output + "\n"
		case line != "" && !strings.HasPrefix(line, "#"):
			last = line
			commands[last] = ""
		}
	}
	return commands
}

// ring runs the example until the test ends, and returns when it stays up.
func ring(t *testing.T, command string) {
	t.Helper()
	// go run does not pass signals on: what it would run is built first.
	binary := filepath.Join(t.TempDir(), "ring")
	arguments := strings.Fields(command)
	if len(arguments) != 4 || arguments[1] != "run" {
		t.Fatalf("the ring is run by %q", command)
	}
	run(t, true, nil, "go", "-C", root, "build", "-o", binary, arguments[2])
	cmd := exec.CommandContext(t.Context(), binary, arguments[3])
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the test's context has ended, which interrupts it
	var written []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		written = append(written, lines.Text())
		if strings.Contains(lines.Text(), "stays up") {
			return
		}
	}
	t.Fatalf("the ring does not stay up:\n%s", strings.Join(written, "\n"))
}
