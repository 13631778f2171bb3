package report

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// Environment is where a run took place and what it ran.
type Environment struct {
	CPU     string            `json:"cpu,omitempty"`
	Cores   int               `json:"cores"`
	System  string            `json:"system"`
	Go      string            `json:"go"`
	Modules map[string]string `json:"modules"`
}

// compared are the modules whose versions a reader needs.
var compared = []string{
	"google.golang.org/grpc",
	"connectrpc.com/connect/v2",
	"github.com/nats-io/nats-server/v2",
	"storj.io/drpc",
	"google.golang.org/protobuf",
}

// Here describes this machine and this executable.
func Here() Environment {
	e := Environment{
		CPU:     cpuModel(),
		Cores:   runtime.NumCPU(),
		System:  runtime.GOOS + "/" + runtime.GOARCH,
		Go:      runtime.Version(),
		Modules: make(map[string]string),
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		e.System += " " + string(bytes.TrimSpace(release))
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return e
	}
	for _, m := range info.Deps {
		if slices.Contains(compared, m.Path) {
			e.Modules[m.Path] = m.Version
		}
	}
	return e
}

func (e Environment) lines() []string {
	machine := []string{strconv.Itoa(e.Cores) + " cores"}
	if e.CPU != "" {
		machine = append(machine, e.CPU)
	}
	machine = append(machine, e.System, e.Go)
	var versions []string
	for _, path := range compared {
		if version := e.Modules[path]; version != "" {
			versions = append(versions, path+" "+version)
		}
	}
	lines := []string{strings.Join(machine, ", ")}
	if len(versions) > 0 {
		lines = append(lines, strings.Join(versions, ", "))
	}
	return lines
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
