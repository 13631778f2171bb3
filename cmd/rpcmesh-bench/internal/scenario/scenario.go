// Package scenario says what is measured: every load, over every path, as data.
package scenario

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
)

// Kind is the shape of a load.
type Kind string

const (
	// Unary is a number of callers, each calling again as soon as it has its answer.
	Unary Kind = "unary"
	// Paced is calls offered at a rate, whether or not earlier ones have been answered.
	Paced Kind = "paced"
	// PingPong is a number of bidirectional streams, each with one message on its way.
	PingPong Kind = "pingpong"
	// Throughput is a number of bidirectional streams, each filled as far as its peer lets it.
	Throughput Kind = "throughput"
	// Beside is one caller of short messages beside others, on the same client, that move bulk.
	Beside Kind = "beside"
)

// A Load is what a client is put under.
type Load struct {
	Kind Kind `json:"kind"`
	// Payload is the bytes of each message. With Beside, of the one caller's.
	Payload int `json:"payload"`
	// Callers is how many callers or streams run at once. With Beside, how many move bulk.
	Callers int `json:"callers,omitempty"`
	// Rate is the calls offered a second, for Paced.
	Rate int `json:"rate,omitempty"`
	// Bulk is the bytes of each message of the others, for Beside.
	Bulk int `json:"bulk,omitempty"`
	// Links is how many clients, each with a connection of its own, take turns calling. 0 means one.
	Links int `json:"links,omitempty"`
}

// A Scenario is a load over a path.
type Scenario struct {
	Load
	// Relays is how many relays stand between client and server.
	Relays int `json:"relays,omitempty"`
	// TLS tells that every connection of the path is TLS 1.3.
	TLS bool `json:"tls,omitempty"`
	// OneCPU tells that all processes share one CPU.
	OneCPU bool `json:"one_cpu,omitempty"`
	// Procs is each process's GOMAXPROCS; 0 is Go's default.
	Procs int `json:"procs,omitempty"`
	// Only are the names of the peers that it makes sense with; none means all that can run it.
	Only []string `json:"-"`
	// Quick tells that the scenario belongs to a quick run.
	Quick bool `json:"-"`
	// Table says which peers the documentation's tables have it of.
	Table Table `json:"-"`
}

// Table is a choice of peers.
type Table int

const (
	// NoTable is none of them.
	NoTable Table = iota
	// Main is rpcmesh and grpc-go, which most goals compare.
	Main
	// Most is all but connect-go, which is nowhere ahead of grpc-go.
	Most
)

// Has tells whether the table has the peer of that name.
func (t Table) Has(name string) bool {
	switch t {
	case Main:
		return name == "rpcmesh" || name == "grpc-go"
	case Most:
		return name != "connect-go"
	default:
		return false
	}
}

// Name is the scenario's unique name, by which flags select it, for example unary/64B/64/relay1/tls.
func (s Scenario) Name() string {
	name := fmt.Sprintf("%s/%s/%s/%s", s.Kind, size(s.Payload, ""), s.count(), s.Path())
	if s.Links > 0 {
		name += fmt.Sprintf("/%dlinks", s.Links)
	}
	if s.TLS {
		name += "/tls"
	}
	if s.OneCPU {
		name += "/1cpu"
	}
	if s.Procs > 0 {
		name += fmt.Sprintf("/procs%d", s.Procs)
	}
	return name
}

func (s Scenario) count() string {
	switch s.Kind {
	case Paced:
		return strconv.Itoa(s.Rate)
	case Beside:
		return fmt.Sprintf("%dx%s", s.Callers, size(s.Bulk, ""))
	default:
		return strconv.Itoa(s.Callers)
	}
}

// Path is direct, relay1, relay2 or relay3.
func (s Scenario) Path() string {
	if s.Relays == 0 {
		return "direct"
	}
	return "relay" + strconv.Itoa(s.Relays)
}

// Title names the scenario's table: it says the load, and leaves out the path.
func (s Scenario) Title() string {
	var title string
	payload := size(s.Payload, " ")
	switch s.Kind {
	case Unary:
		title = fmt.Sprintf("Unary, %s, %s", payload, counted(s.Callers, "caller"))
	case Paced:
		title = fmt.Sprintf("Unary, %s, %d calls/s offered", payload, s.Rate)
	case PingPong:
		title = fmt.Sprintf("Ping-pong, %s, %s", payload, counted(s.Callers, "stream"))
	case Throughput:
		title = fmt.Sprintf("Throughput, %s, %s", payload, counted(s.Callers, "stream"))
	case Beside:
		title = fmt.Sprintf("One caller of %s beside %d of %s", payload, s.Callers, size(s.Bulk, " "))
	}
	if s.Links > 0 {
		title += fmt.Sprintf(" over %d links", s.Links)
	}
	if s.TLS {
		title += ", TLS 1.3"
	}
	if s.OneCPU {
		title += ", all processes on one CPU"
	}
	if s.Procs > 0 {
		title += fmt.Sprintf(", GOMAXPROCS %d", s.Procs)
	}
	return title
}

// manyCallers is what peers in other languages are not asked to exceed.
const manyCallers = 64

// Fits tells whether a peer can run the scenario.
func (s Scenario) Fits(t peer.Traits) bool {
	switch {
	case len(s.Only) > 0 && !slices.Contains(s.Only, t.Name):
		return false
	case s.Relays < t.MinRelays || s.Relays > t.MaxRelays:
		return false
	case s.TLS && !t.TLS, s.Procs > 0 && t.NotGo, s.Links > 0 && t.Broker:
		return false
	case t.NotGo && (s.Kind == Beside || s.Kind == Paced || s.Callers > manyCallers):
		return false
	case s.Kind == PingPong || s.Kind == Throughput:
		return t.Streams
	}
	return true
}

// size prints a number of bytes, with space before the unit.
func size(n int, space string) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return strconv.Itoa(n>>20) + space + "MiB"
	case n >= 1<<10 && n%(1<<10) == 0:
		return strconv.Itoa(n>>10) + space + "KiB"
	}
	return strconv.Itoa(n) + space + "B"
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
