package mesh

import (
	"hash/maphash"
	"slices"
)

// index maps procedures to items. It is persistent: freeze yields a version that never changes, in
// constant time, and the next change of an entry copies the few kilobytes on the way to it.
//
// It is an extendible hash table (Fagin et al., 1979) with a directory in two levels, so that a
// look-up touches a page, a bucket and the entry, and a change copies no more than the square root
// of the table.
type index struct {
	bits  uint    // of the hash that the directory is indexed by
	pages []*page // 1<<bits slots in all, at least one page
	size  int
	epoch *epoch // what may be changed in place
}

// epoch marks what was made since the last freeze, by its identity.
type epoch struct{ _ byte }

const (
	pageBits   = 8
	bucketSize = 32
	bucketFull = 28 // open addressing gets slow beyond
)

type page struct {
	epoch   *epoch
	buckets [1 << pageBits]*bucket
}

type bucket struct {
	tags  [bucketSize]uint16 // 0: free
	slots [bucketSize]slot
	used  uint8
	depth uint8 // bits of the hash that all in it share
	epoch *epoch
}

type slot struct {
	key string
	it  *item
}

// seed keeps peers from choosing procedures that collide.
var seed = maphash.MakeSeed()

func newIndex() index {
	e := new(epoch)
	p := &page{epoch: e}
	p.buckets[0] = &bucket{epoch: e}
	return index{pages: []*page{p}, epoch: e}
}

// freeze returns the index as it is now.
func (x *index) freeze() index {
	frozen := *x
	x.epoch = new(epoch)
	x.pages = slices.Clone(x.pages)
	return frozen
}

func (x *index) get(key string) *item {
	h := maphash.String(seed, key)
	d := x.slot(h)
	b := x.pages[d>>pageBits].buckets[d&(1<<pageBits-1)]
	tag := tagOf(h)
	for i := startOf(h); ; i = (i + 1) % bucketSize {
		switch t := b.tags[i]; {
		case t == tag && b.slots[i].key == key:
			return b.slots[i].it
		case t == 0:
			return nil
		}
	}
}

// set maps key to it, or to nothing if it is nil.
func (x *index) set(key string, it *item) {
	h := maphash.String(seed, key)
	b := x.writable(h)
	for i := startOf(h); ; i = (i + 1) % bucketSize {
		if b.tags[i] == 0 {
			break
		}
		if b.slots[i].key != key {
			continue
		}
		if it != nil {
			b.slots[i] = slot{key, it}
			return
		}
		b.remove(i)
		x.size--
		return
	}
	if it == nil {
		return
	}
	for b.used >= bucketFull {
		x.split(h)
		b = x.writable(h)
	}
	b.add(h, slot{key, it})
	x.size++
}

// all yields every entry, in no order.
func (x *index) all(yield func(*item) bool) {
	d := uint64(0)
	for d < 1<<x.bits {
		b := x.at(d)
		for i := range b.slots {
			if b.tags[i] != 0 && !yield(b.slots[i].it) {
				return
			}
		}
		d += 1 << (x.bits - uint(b.depth))
	}
}

func (x *index) slot(h uint64) uint64 { return h >> 1 >> (63 - x.bits) }

func (x *index) at(d uint64) *bucket { return x.pages[d>>pageBits].buckets[d&(1<<pageBits-1)] }

func tagOf(h uint64) uint16 { return uint16(h) | 1 }

func startOf(h uint64) uint64 { return h >> 16 % bucketSize }

// writable returns the bucket for h, of this epoch.
func (x *index) writable(h uint64) *bucket {
	d := x.slot(h)
	b := x.at(d)
	if b.epoch != x.epoch {
		c := *b
		c.epoch = x.epoch
		b = &c
		x.put(d, b)
	}
	return b
}

// put makes b the bucket of all slots that share its bits with slot d.
func (x *index) put(d uint64, b *bucket) {
	n := uint64(1) << (x.bits - uint(b.depth))
	d &^= n - 1
	for i := d; i < d+n; i++ {
		p := x.pages[i>>pageBits]
		if p.epoch != x.epoch {
			c := *p
			c.epoch = x.epoch
			p = &c
			x.pages[i>>pageBits] = p
		}
		p.buckets[i&(1<<pageBits-1)] = b
	}
}

// split halves the bucket for h.
func (x *index) split(h uint64) {
	b := x.writable(h)
	if uint(b.depth) == x.bits {
		x.double()
	}
	d := x.slot(h)
	depth := b.depth + 1
	low, high := &bucket{epoch: x.epoch, depth: depth}, &bucket{epoch: x.epoch, depth: depth}
	for i := range b.slots {
		if b.tags[i] == 0 {
			continue
		}
		h := maphash.String(seed, b.slots[i].key)
		if h>>(64-depth)&1 == 0 {
			low.add(h, b.slots[i])
		} else {
			high.add(h, b.slots[i])
		}
	}
	half := uint64(1) << (x.bits - uint(depth))
	x.put(d&^half, low)
	x.put(d|half, high)
}

// double doubles the directory: each slot becomes two.
func (x *index) double() {
	old := *x
	x.bits++
	x.pages = make([]*page, max(1, 1<<x.bits>>pageBits))
	for i := range x.pages {
		x.pages[i] = &page{epoch: x.epoch}
	}
	for d := range uint64(1) << x.bits {
		x.pages[d>>pageBits].buckets[d&(1<<pageBits-1)] = old.at(d >> 1)
	}
}

func (b *bucket) add(h uint64, s slot) {
	i := startOf(h)
	for b.tags[i] != 0 {
		i = (i + 1) % bucketSize
	}
	b.tags[i], b.slots[i] = tagOf(h), s
	b.used++
}

// remove empties slot i and puts what follows where it would be without it.
func (b *bucket) remove(i uint64) {
	b.tags[i], b.slots[i] = 0, slot{}
	b.used--
	for j := (i + 1) % bucketSize; b.tags[j] != 0; j = (j + 1) % bucketSize {
		s := b.slots[j]
		b.tags[j], b.slots[j] = 0, slot{}
		b.used--
		b.add(maphash.String(seed, s.key), s)
	}
}
