package mesh

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// encodeFor is from how many links on a record is encoded once for all of them.
const encodeFor = 4

// encoded is what is told of a record to all links whose peers have the same version of it. It is kept until the
// next [Core.Tick] at most.
type encoded struct {
	inc, since, version, floor uint64
	ns                         string // Record.namespace
	bytes                      []byte // as a field of Table; nil: there is none
	size                       int
}

// written is what is told of a record: one of the two.
type written struct {
	record  *linkv1.Record
	encoded []byte
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

// encodingOf returns what is told of a record since a version, if it is at hand.
func (ld *linkDomain) encodingOf(r *record, since uint64) *encoded {
	e := &r.encoded[slotFor(since)]
	if e.bytes == nil || e.inc != r.inc || e.since != since || e.version != r.version || e.floor != r.floor || e.ns != ld.nsFor(r) {
		return nil
	}
	return e
}

// recordsField is the number of Table.records.
var recordsField = new(linkv1.Table).ProtoReflect().Descriptor().Fields().ByName("records").Number()

// keep returns w, or its encoding, which is told to further links too, if there are many and w says all.
func (ld *linkDomain) keep(r *record, w *linkv1.Record, size int) written {
	d := ld.db
	if len(d.links) < encodeFor || w.GetMore() {
		return written{record: w}
	}
	b, err := proto.Marshal(w)
	if err != nil {
		return written{record: w} // whoever sends it finds out why
	}
	if r.encoded[0].bytes == nil && r.encoded[1].bytes == nil {
		d.kept = append(d.kept, r)
	}
	field := protowire.AppendTag(make([]byte, 0, len(b)+4), recordsField, protowire.BytesType)
	field = protowire.AppendBytes(field, b)
	r.encoded[slotFor(w.GetSince())] = encoded{
		inc: r.inc, since: w.GetSince(), version: r.version, floor: r.floor, ns: w.GetNamespace(), bytes: field, size: size,
	}
	return written{encoded: field}
}

// dropEncoded lets go of what is kept.
func (d *database) dropEncoded() {
	for _, r := range d.kept {
		r.encoded = [2]encoded{}
	}
	d.kept = nil
}
