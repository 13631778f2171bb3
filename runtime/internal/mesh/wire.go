package mesh

import (
	"cmp"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// recordBytes is about what a record takes on the wire besides its items.
const recordBytes = 48

// write adds the item to what is sent of its record, and returns about how many bytes it takes.
func (it *item) write(w *linkv1.Record) int {
	at := it.version - w.Since
	e := it.more()
	switch it.kind {
	case kindAbout:
		w.About = &linkv1.About{At: at, Info: e.info, Leaving: e.leaving}
		return 32 + infoBytes(e.info)
	case kindNeighbour:
		w.Neighbours = append(w.Neighbours, &linkv1.Neighbour{At: at, Removed: it.removed, Node: e.neighbour[:], Cost: e.cost, Incarnation: e.inc, Key: e.key})
		return 37 + len(e.key)
	case kindBridge:
		w.Bridges = append(w.Bridges, &linkv1.Bridge{At: at, Removed: it.removed, Namespace: e.bridge})
		return 8 + len(e.bridge)
	case kindAckRequest:
		w.Ask = &linkv1.Ask{At: at, Removed: it.removed}
		return 8
	default:
		f := it.writeFunction(at)
		w.Functions = append(w.Functions, f)
		size := 34 + len(it.fn.Procedure) + len(it.fn.Schema)
		for _, hash := range f.Fits {
			size += 2 + len(hash)
		}
		return size
	}
}

func (it *item) writeFunction(at uint64) *linkv1.Function {
	f := &it.fn
	w := &linkv1.Function{At: at, Removed: it.removed, Procedure: f.Procedure, Derivation: it.derivation()}
	if it.removed {
		return w
	}
	w.StreamType, w.Idempotency, w.Policy = uint32(f.StreamType), uint32(f.Idempotency), linkv1.Policy(f.Policy)
	e := it.more()
	w.Registered, w.Schema, w.Fits = uint64(f.Registered), f.Schema, e.compatible
	w.FirstRegistered, w.Level = uint64(e.stamp), e.level
	if e.behind != (registration{}) {
		w.Behind, w.BehindRegistered = e.behind.node[:], uint64(e.behind.stamp)
	}
	if it.hasAge {
		w.Age = uint64(max(1, e.age))
	}
	if w.Derivation != 0 {
		w.Origin = it.extra.origin[:]
	}
	return w
}

// items returns the items of a received record, by version.
func (c *Core) items(w *linkv1.Record) []*item {
	items := make([]*item, 0, len(w.GetFunctions())+len(w.GetNeighbours())+len(w.GetBridges())+2)
	add := func(at uint64, it *item) {
		it.version = w.GetSince() + at
		if it.removed && it.extra != nil {
			it.extra.at = c.now
		}
		items = append(items, it)
	}
	if a := w.GetAbout(); a != nil {
		add(a.GetAt(), &item{kind: kindAbout, extra: &extra{info: a.GetInfo(), leaving: a.GetLeaving()}})
	}
	if a := w.GetAsk(); a != nil {
		add(a.GetAt(), &item{kind: kindAckRequest, removed: a.GetRemoved()})
	}
	for _, n := range w.GetNeighbours() {
		add(n.GetAt(), &item{
			kind: kindNeighbour, removed: n.GetRemoved(),
			extra: &extra{neighbour: nodeid.ID(n.GetNode()), cost: n.GetCost(), inc: n.GetIncarnation(), key: n.GetKey()},
		})
	}
	for _, b := range w.GetBridges() {
		add(b.GetAt(), &item{kind: kindBridge, removed: b.GetRemoved(), extra: &extra{bridge: b.GetNamespace()}})
	}
	for _, f := range w.GetFunctions() {
		add(f.GetAt(), readFunction(f))
	}
	slices.SortFunc(items, func(a, b *item) int { return cmp.Compare(a.version, b.version) })
	return items
}

func readFunction(f *linkv1.Function) *item {
	it := &item{removed: f.GetRemoved(), fn: Function{Procedure: f.GetProcedure()}}
	if d := f.GetDerivation(); d != 0 || it.removed || len(f.GetFits()) > 0 || contends(f) {
		it.extra = &extra{derivation: d}
	}
	if it.removed {
		return it
	}
	it.fn.StreamType, it.fn.Idempotency = uint8(f.GetStreamType()), uint8(f.GetIdempotency())
	it.fn.Policy, it.fn.Registered, it.fn.Schema = Policy(f.GetPolicy()), int64(f.GetRegistered()), f.GetSchema()
	if it.derivation() != 0 {
		it.extra.origin = nodeid.ID(f.GetOrigin())
	}
	it.hasAge = f.GetAge() != 0
	if e := it.extra; e != nil {
		e.compatible, e.stamp, e.level = f.GetFits(), int64(f.GetFirstRegistered()), f.GetLevel()
		e.age = time.Duration(min(f.GetAge(), maxVersion))
		copy(e.behind.node[:], f.GetBehind())
		e.behind.stamp = int64(f.GetBehindRegistered())
	}
	return it
}

// contends reports whether a function has met another origin.
func contends(f *linkv1.Function) bool {
	return f.GetAge() > 1 || f.GetFirstRegistered() != 0 || f.GetLevel() != 0 || len(f.GetBehind()) > 0
}

func infoBytes(info *linkv1.NodeInfo) int {
	n := len(info.GetName()) + len(info.GetVersion())
	for _, a := range info.GetAddresses() {
		n += len(a) + 2
	}
	for k, v := range info.GetMetadata() {
		n += len(k) + len(v) + 6
	}
	return n
}
