package mesh

import (
	"maps"
	"slices"
)

// sums are of 64 bits and the same at every node: FNV-1a, mixed at the end so that they can be
// combined by exclusive or.
type sum uint64

const newSum sum = 14695981039346656037

func (s sum) bytes(b []byte) sum {
	for _, c := range b {
		s = (s ^ sum(c)) * 1099511628211
	}
	return s.number(uint64(len(b)))
}

func (s sum) string(b string) sum {
	for i := range len(b) {
		s = (s ^ sum(b[i])) * 1099511628211
	}
	return s.number(uint64(len(b)))
}

func (s sum) number(n uint64) sum { return (s ^ sum(n)) * 1099511628211 }

// done mixes as SplitMix64 does.
func (s sum) done() uint64 {
	x := uint64(s)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// sum is of all of the item that is sent.
func (it *item) sum() uint64 {
	e := it.more()
	s := newSum.number(uint64(it.kind)).number(it.version)
	switch it.kind {
	case kindFunction:
		f := &it.fn
		s = s.string(f.Procedure).number(uint64(f.StreamType)).number(uint64(f.Idempotency)).
			number(uint64(f.Policy)).number(uint64(f.Registered)).bytes(f.Schema).
			number(uint64(e.derivation)).bytes(e.origin[:])
		for _, hash := range e.compatible {
			s = s.bytes(hash)
		}
	case kindNeighbour:
		s = s.bytes(e.neighbour[:]).number(uint64(e.cost)).number(e.inc)
	case kindBridge:
		s = s.string(e.bridge)
	case kindAbout:
		s = s.string(e.info.GetName()).string(e.info.GetVersion())
		for _, a := range e.info.GetAddresses() {
			s = s.string(a)
		}
		for _, k := range slices.Sorted(maps.Keys(e.info.GetMetadata())) {
			s = s.string(k).string(e.info.GetMetadata()[k])
		}
		if e.leaving {
			s = s.number(1)
		}
	}
	return s.done()
}

// digested is a record's digest, and what it was made of besides its vertex.
type digested struct{ inc, version, sum, digest uint64 }

// digest is of the record as it is.
func (r *record) digest() uint64 {
	if d := &r.digested; d.digest == 0 || d.inc != r.inc || d.version != r.version || d.sum != r.sum {
		*d = digested{r.inc, r.version, r.sum, newSum.bytes(r.node[:]).string(r.ns).number(r.inc).number(r.version).number(r.sum).done()}
	}
	return r.digested.digest
}

// bucket is the bit of the bucket that the vertex counts in, of 64.
func (v vertex) bucket() uint {
	return uint(newSum.bytes(v.node[:]).string(v.ns).done() >> 58)
}
