// Package cluster runs one peer under one scenario, every role a process of its own: the benchmark's
// own executable, started again. Parent and child speak JSON, a line a message, over the child's
// standard input and output.
package cluster

import (
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/load"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// roleVariable tells an executable, by being set in its environment, that it is a child.
const roleVariable = "RPCMESH_BENCH_ROLE"

// The roles.
const (
	roleServer = "server"
	roleRelay  = "relay"
	roleLoad   = "load"
)

// start is the first line that a child gets.
type start struct {
	Peer string `json:"peer"`
	Role string `json:"role"`
	// Name tells the processes of one role apart.
	Name        string           `json:"name"`
	Upstream    string           `json:"upstream,omitempty"`
	Credentials peer.Credentials `json:"credentials"`
	Load        scenario.Load    `json:"load"`
	// Profile is where a CPU profile and a mutex profile of the measured window go, if they are wanted: what
	// their files' names begin with.
	Profile string `json:"profile,omitempty"`
	// Count asks for the system calls too, which slows them down.
	Count bool `json:"count,omitempty"`
}

// A request is every further line that a child gets. Its input's end ends the child.
type request struct {
	Do action `json:"do"`
	// For is how long to make the load.
	For time.Duration `json:"for,omitempty"`
}

type action string

const (
	// begin and end enclose the measured window.
	begin action = "begin"
	end   action = "end"
	// run makes the load, at the load's process only.
	run action = "run"
)

// A reply answers the start and each request.
type reply struct {
	Error string `json:"error,omitempty"`
	// Addr is where a server or relay listens.
	Addr string `json:"addr,omitempty"`
	// Usage is what the process used within the window, in answer to end.
	Usage usage `json:"usage"`
	// Result is in answer to run.
	Result load.Result `json:"result"`
}
