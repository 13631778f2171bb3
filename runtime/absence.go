package rpcmesh

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// maxElsewhere bounds how many namespaces an error names that have the function.
const maxElsewhere = 8

// absence is why a function cannot be called from here.
type absence struct {
	calls      *calls
	namespace  string
	procedure  string
	table      *mesh.Snapshot
	links      []linkState // that may still bring it
	withdrawal mesh.Absence
	reason     Reason
}

// absence returns why table has no route to procedure. links are those that may still bring it.
func (c *calls) absence(table *mesh.Snapshot, namespace, procedure string, links []linkState) absence {
	a := absence{calls: c, namespace: namespace, procedure: procedure, table: table, links: links, withdrawal: table.Absent(namespace, procedure)}
	switch {
	case c.life.leaving.Load():
		a.reason = ReasonNodeLeaving
	case a.recentlyWithdrawn():
		a.reason = ReasonFunctionGone
	case len(links) > 0:
		a.reason = ReasonLinkDown
	default:
		a.reason = ReasonFunctionUnknown
	}
	return a
}

// recentlyWithdrawn reports whether the function was available a short time ago.
func (a *absence) recentlyWithdrawn() bool {
	return a.withdrawal.Seen && time.Since(a.withdrawal.Withdrawn) < mesh.ForgetAfter
}

// temporary reports whether the function may still become available.
func (a *absence) temporary() bool { return a.reason != ReasonFunctionUnknown }

// linkOpening reports whether a link that may bring the function is being opened.
func (a *absence) linkOpening() bool {
	for _, l := range a.links {
		if l.opening {
			return true
		}
	}
	return false
}

// redialLinks asks for an early redial of the links that are down.
func (a *absence) redialLinks() {
	for _, l := range a.links {
		if l.link != nil {
			l.link.redialSoon()
		}
	}
}

func (a *absence) code() connect.Code {
	if a.temporary() {
		return connect.CodeUnavailable
	}
	return connect.CodeUnimplemented
}

// failure is the error of a call that finds no function.
func (a *absence) failure(code connect.Code, prefix string) *connect.Error {
	info := ErrorInfo{Reason: a.reason, Metadata: map[string]string{"namespace": a.namespace, "procedure": a.procedure}}
	text := a.describe(info.Metadata)
	return info.with(a.calls.identity.failed(code, notStarted, prefix+text+a.advice()))
}

// advice tells the caller what to do.
func (a *absence) advice() string {
	switch a.reason {
	case ReasonFunctionUnknown:
		return "; see whether its name and namespace are right, and the node that has it is linked"
	case ReasonNodeLeaving:
		return "; call by another node"
	}
	return "; try again, or wait for it by rpcmesh.WaitForReady"
}

// String describes what is known of the function.
func (a *absence) String() string { return a.describe(map[string]string{}) }

// describe is String. It also fills in the metadata of the reason.
func (a *absence) describe(metadata map[string]string) string {
	var text strings.Builder
	if a.reason == ReasonNodeLeaving {
		metadata["node"] = a.calls.identity.name
		text.WriteString("this node is shutting down, and ")
	}
	if a.recentlyWithdrawn() {
		a.describeWithdrawn(&text, metadata)
	} else {
		fmt.Fprintf(&text, "no node that can be reached in namespace %q has registered %s, nor has one lately", a.namespace, a.procedure)
	}
	for _, l := range a.links {
		fmt.Fprintf(&text, "; %v", l)
		metadata["links"] = appendJoined(metadata["links"], l.String(), "; ")
	}
	if a.reason == ReasonFunctionUnknown {
		a.suggest(&text, metadata)
	}
	return text.String()
}

func (a *absence) describeWithdrawn(text *strings.Builder, metadata map[string]string) {
	at := a.withdrawal.Withdrawn.UTC().Format(time.RFC3339Nano)
	metadata["origin"], metadata["origin_id"] = a.withdrawal.Name, a.withdrawal.Node.String()
	metadata["gone"], metadata["cause"] = at, a.withdrawal.Cause
	fmt.Fprintf(text, "%s of node %q was withdrawn from namespace %q at %s: %s", a.procedure, a.withdrawal.Name, a.namespace, at, a.withdrawal.Cause)
}

// suggest names functions that may have been meant.
func (a *absence) suggest(text *strings.Builder, metadata map[string]string) {
	if near := a.calls.suggestions.similar(a.table, a.namespace, a.procedure); len(near) > 0 {
		metadata["near"] = strings.Join(near, ",")
		fmt.Fprintf(text, "; did you mean %s?", strings.Join(near, " or "))
	}
	elsewhere := a.table.Elsewhere(a.namespace, a.procedure)
	if len(elsewhere) > maxElsewhere {
		elsewhere = elsewhere[:maxElsewhere]
	}
	if len(elsewhere) > 0 {
		metadata["elsewhere"] = strings.Join(elsewhere, ",")
		fmt.Fprintf(text, "; it is in namespace %q of this node", strings.Join(elsewhere, `", "`))
	}
}

func appendJoined(text, more, separator string) string {
	if text == "" {
		return more
	}
	return text + separator + more
}

// suggester searches for names with a similar spelling. The search is slow where there are many functions, so it uses
// at most a tenth of one processor, however many calls ask for it.
type suggester struct {
	mu         sync.Mutex
	nextSearch time.Time
}

// searchPauseFactor is how many times longer than a search the pause after it is.
const searchPauseFactor = 9

func (b *suggester) similar(table *mesh.Snapshot, namespace, procedure string) []string {
	if !b.mu.TryLock() {
		return nil
	}
	defer b.mu.Unlock()
	began := time.Now()
	if began.Before(b.nextSearch) {
		return nil
	}
	near := table.Near(namespace, procedure)
	ended := time.Now()
	b.nextSearch = ended.Add(duration.Times(ended.Sub(began), searchPauseFactor))
	return near
}
