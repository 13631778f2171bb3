package mesh

import (
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// encodeFor is from how many links on a record is encoded once for all of them.
const encodeFor = 4

// encoded is what is told of a record to all links whose peers have the same version of it. It is kept until the
// next [Core.Tick] at most.
type encoded struct {
	inc, since, version, floor uint64
	ns                         string         // Record.namespace
	record                     *linkv1.Record // which has nothing but its encoding, as unknown fields
	size                       int
}

// slotFor tells apart what is told to who has nothing and to who lacks what is new, since both often take turns.
func slotFor(since uint64) int {
	if since == 0 {
		return 0
	}
	return 1
}

// nsFor is Record.namespace for a link.
func (ld *linkDomain) nsFor(r *record) string {
	if r.ns == ld.name {
		return ""
	}
	return r.ns
}

// written returns what is told of a record since a version, if it is at hand.
func (ld *linkDomain) written(r *record, since uint64) (*linkv1.Record, int) {
	e := &r.encoded[slotFor(since)]
	if e.record == nil || e.inc != r.inc || e.since != since || e.version != r.version || e.floor != r.floor || e.ns != ld.nsFor(r) {
		return nil, 0
	}
	return e.record, e.size
}

// keep returns what says the same as w, which is told to further links if there are many and w says all.
func (ld *linkDomain) keep(r *record, w *linkv1.Record, size int) *linkv1.Record {
	d := ld.db
	if len(d.links) < encodeFor || w.GetMore() {
		return w
	}
	b, err := proto.Marshal(w)
	if err != nil {
		return w // whoever sends it finds out why
	}
	if r.encoded[0].record == nil && r.encoded[1].record == nil {
		d.kept = append(d.kept, r)
	}
	same := new(linkv1.Record)
	same.ProtoReflect().SetUnknown(b)
	r.encoded[slotFor(w.GetSince())] = encoded{
		inc: r.inc, since: w.GetSince(), version: r.version, floor: r.floor, ns: w.GetNamespace(), record: same, size: size,
	}
	return same
}

// dropEncoded lets go of what is kept.
func (d *database) dropEncoded() {
	for _, r := range d.kept {
		r.encoded = [2]encoded{}
	}
	d.kept = nil
}
