package mesh

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// minLinksToCache is from how many links on a record is encoded once for all of them.
const minLinksToCache = 4

// encoded is what is sent of a record on all links whose peers have the same version of it. It is kept until the
// next [Core.Tick] at most.
type encoded struct {
	inc, since, version, floor uint64
	ns                         string // Record.namespace
	bytes                      []byte // as a field of Table; nil: there is none
	size                       int
}

// written is what is sent of a record: one of the two.
type written struct {
	record  *linkv1.Record
	encoded []byte
}

// slotFor has one slot for peers that have nothing and one for those that lack what is new: the two often take turns.
func slotFor(since uint64) int {
	if since == 0 {
		return 0
	}
	return 1
}

// wireNamespace is Record.namespace for a link.
func (ld *linkDomain) wireNamespace(r *record) string {
	if r.ns == ld.name {
		return ""
	}
	return r.ns
}

// cachedEncoding returns what is sent of a record since a version, if it is at hand.
func (ld *linkDomain) cachedEncoding(r *record, since uint64) *encoded {
	e := &r.encoded[slotFor(since)]
	if e.bytes == nil || e.inc != r.inc || e.since != since || e.version != r.version || e.floor != r.floor || e.ns != ld.wireNamespace(r) {
		return nil
	}
	return e
}

// recordsField is the number of Table.records.
var recordsField = new(linkv1.Table).ProtoReflect().Descriptor().Fields().ByName("records").Number()

// cacheEncoding returns w, or its encoding, which serves further links too, if there are many and w is complete.
func (ld *linkDomain) cacheEncoding(r *record, w *linkv1.Record, size int) written {
	d := ld.domain
	if len(d.links) < minLinksToCache || w.GetMore() {
		return written{record: w}
	}
	b, err := proto.Marshal(w)
	if err != nil {
		return written{record: w} // whoever sends it finds out why
	}
	if r.encoded[0].bytes == nil && r.encoded[1].bytes == nil {
		d.encodedRecords = append(d.encodedRecords, r)
	}
	field := protowire.AppendTag(make([]byte, 0, len(b)+4), recordsField, protowire.BytesType)
	field = protowire.AppendBytes(field, b)
	r.encoded[slotFor(w.GetSince())] = encoded{
		inc: r.inc, since: w.GetSince(), version: r.version, floor: r.floor, ns: w.GetNamespace(), bytes: field, size: size,
	}
	return written{encoded: field}
}

// dropEncodings lets go of what is kept.
func (d *domain) dropEncodings() {
	for _, r := range d.encodedRecords {
		r.encoded = [2]encoded{}
	}
	d.encodedRecords = nil
}
