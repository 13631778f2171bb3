package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// check is a received table, as far as it has been checked: nothing of it is taken in before all
// of it is known to be good.
//
// The peer answers for its own records: a bound that it exceeds costs it the link. Records of others
// it may only have passed on; of those the excess is dropped. What no honest
// node would pass on costs the link in either case.
type check struct {
	core      *Core
	ld        *linkDomain
	good      []*linkv1.Record
	claims    []*linkv1.Claim
	members   int // new ones, less those that go
	functions int // likewise
	shares    map[*link]*share
	victims   []*record // to make room
	resync    []*record // of the peer's: to be sent again whole, without what others sent of it
	dropped   int
	dropCause string // the last of them was
}

// excess is why a record is dropped that nobody is to blame for who is known.
type excess string

func (e excess) Error() string { return string(e) }

func broken(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

func (ck *check) table(t *linkv1.Table) error {
	if t.GetSeen() > ck.ld.tablesSent {
		return broken("it has seen tables that were not sent")
	}
	if ck.ld.link.peer.Observer && len(t.GetRecords())+len(t.GetClaims()) > 0 {
		return broken("a proxy tells of members")
	}
	for _, w := range t.GetRecords() {
		if err := ck.sift(w); err != nil {
			return err
		}
	}
	for _, w := range t.GetClaims() {
		if err := ck.claim(w); err != nil {
			return err
		}
	}
	if n := len(t.GetDigest().GetSums()); t.GetDigest() != nil && n != 1 && n != 64 {
		return broken("a digest of %d sums", n)
	}
	if len(t.GetSummary().GetEntries()) > ck.core.cfg.Limits.Members {
		return &LimitError{What: "members of one namespace", Limit: ck.core.cfg.Limits.Members}
	}
	for _, e := range t.GetSummary().GetEntries() {
		if err := ck.name(e.GetNode(), e.GetNamespace()); err != nil {
			return err
		}
	}
	for _, a := range t.GetAcks() {
		if err := ck.checkAck(a); err != nil {
			return err
		}
	}
	return nil
}

// sift checks a record and decides whether it is to be taken in.
func (ck *check) sift(w *linkv1.Record) error {
	err := ck.record(w)
	_, tooMuch := errors.AsType[excess](err)
	if _, limit := errors.AsType[*LimitError](err); limit && !ck.ld.isPeer(ck.ld.vertex(w.GetNode(), w.GetNamespace())) {
		tooMuch = true
	}
	switch {
	case err == nil:
		ck.good = append(ck.good, w)
	case !tooMuch:
		return err
	default:
		ck.dropped++
		ck.dropCause = err.Error()
		v := ck.ld.vertex(w.GetNode(), w.GetNamespace())
		if _, tainted := ck.base(w, ck.ld.domain.byVertex[v]); tainted && ck.ld.isPeer(v) {
			ck.resync = append(ck.resync, ck.ld.domain.byVertex[v])
		}
	}
	return nil
}

func (ck *check) claim(w *linkv1.Claim) error {
	if err := ck.name(w.GetNode(), w.GetNamespace()); err != nil {
		return err
	}
	if err := checkKey(w.GetKey()); err != nil {
		return err
	}
	r := ck.ld.domain.byVertex[ck.ld.vertex(w.GetNode(), w.GetNamespace())]
	if r == nil || w.GetVersion() > maxVersion || ck.core.implausible(w.GetIncarnation(), r, false) {
		return nil
	}
	ck.claims = append(ck.claims, w)
	return nil
}

func checkKey(key []byte) error {
	if n := len(key); n != 0 && n != keyBytes {
		return broken("a key of %d bytes", n)
	}
	return nil
}

func (ck *check) name(node []byte, ns string) error {
	if err := checkID(node); err != nil || ns == "" {
		return err
	}
	if err := checkForeign(ns); err != nil {
		return broken("%v", err)
	}
	return nil
}

func checkID(node []byte) error {
	if len(node) != len(nodeid.ID{}) {
		return broken("a node's id has %d bytes", len(node))
	}
	return nil
}

func (ck *check) checkAck(a *linkv1.Seen) error {
	if err := ck.name(a.GetNode(), a.GetNamespace()); err != nil {
		return err
	}
	for _, m := range a.GetMembers() {
		if err := ck.name(m.GetNode(), m.GetNamespace()); err != nil {
			return err
		}
	}
	return nil
}

// record checks a received record.
func (ck *check) record(w *linkv1.Record) error {
	if err := ck.name(w.GetNode(), w.GetNamespace()); err != nil {
		return err
	}
	v := w.GetVersion()
	switch {
	case v == 0 || v > maxVersion || w.GetIncarnation() > maxVersion || w.GetStart() > maxVersion:
		return broken("a record of version %d of incarnation %d", v, w.GetIncarnation())
	case w.GetSince() > v || w.GetFloor() > maxVersion:
		return broken("a record from version %d to %d, floor %d", w.GetSince(), v, w.GetFloor())
	}
	r := ck.ld.domain.byVertex[ck.ld.vertex(w.GetNode(), w.GetNamespace())]
	if slices.Contains(ck.victims, r) {
		r = nil
	}
	if err := ck.process(w, r); err != nil {
		return err
	}
	if err := ck.about(w); err != nil {
		return err
	}
	if err := ck.links(w, r); err != nil {
		return err
	}
	return ck.allFunctions(w, r)
}

// process checks what a record says of the process that originated it.
func (ck *check) process(w *linkv1.Record, r *record) error {
	if err := checkKey(w.GetKey()); err != nil {
		return err
	}
	peer, own := ck.ld.link.peer, ck.ld.isPeer(ck.ld.vertex(w.GetNode(), w.GetNamespace()))
	if own && w.GetSince() == 0 && len(peer.Key) > 0 && !bytes.Equal(peer.Key, w.GetKey()) {
		return broken("its own record has another key than it has proven")
	}
	if ck.core.implausible(w.GetIncarnation(), r, own) {
		return excess("an incarnation in the future: a clock is wrong, or it is made up")
	}
	return nil
}

// at checks the version of an item.
func at(w *linkv1.Record, at uint64) error {
	if at == 0 || at > w.GetVersion()-w.GetSince() {
		return broken("an item outside of the versions that are told")
	}
	return nil
}

func (ck *check) about(w *linkv1.Record) error {
	if a := w.GetAsk(); a != nil {
		if err := at(w, a.GetAt()); err != nil {
			return err
		}
	}
	a := w.GetAbout()
	if a == nil {
		return nil
	}
	if err := at(w, a.GetAt()); err != nil {
		return err
	}
	return checkInfo(a.GetInfo(), ck.core.cfg.Limits)
}

func (ck *check) links(w *linkv1.Record, r *record) error {
	limits := ck.core.cfg.Limits
	base, tainted := ck.base(w, r)
	if n := len(w.GetNeighbours()); n > limits.Neighbours || base != nil && n > 0 && len(base.neighbours)+n > 2*limits.Neighbours {
		return tooMuch(&LimitError{What: "neighbours of one member", Limit: limits.Neighbours}, tainted && n <= limits.Neighbours)
	}
	if n := len(w.GetBridges()); n > limits.Namespaces || base != nil && n > 0 && len(base.bridges)+n > 2*limits.Namespaces {
		return tooMuch(&LimitError{What: "bridges of one member", Limit: limits.Namespaces}, tainted && n <= limits.Namespaces)
	}
	for _, n := range w.GetNeighbours() {
		if err := checkID(n.GetNode()); err != nil {
			return err
		}
		if err := checkKey(n.GetKey()); err != nil {
			return err
		}
		if err := at(w, n.GetAt()); err != nil {
			return err
		}
		if n.GetCost() == 0 && !n.GetRemoved() {
			return broken("a link that costs nothing")
		}
	}
	for _, b := range w.GetBridges() {
		if err := checkForeign(b.GetNamespace()); err != nil {
			return broken("%v", err)
		}
		if err := at(w, b.GetAt()); err != nil {
			return err
		}
	}
	return nil
}

func (ck *check) allFunctions(w *linkv1.Record, r *record) error {
	limits := ck.core.cfg.Limits
	base, tainted := ck.base(w, r)
	live, fresh := 0, 0
	for _, f := range w.GetFunctions() {
		if err := ck.function(w, f); err != nil {
			return err
		}
		if f.GetRemoved() {
			continue
		}
		if !base.hasFunction(f) {
			live++
		}
		if !r.hasFunction(f) {
			fresh++
		}
	}
	if base != nil {
		live += base.liveFunctions
	}
	if live > limits.MemberFunctions {
		return tooMuch(&LimitError{What: "functions of one member", Limit: limits.MemberFunctions}, tainted)
	}
	if !ck.hasRoom(w, r, fresh) {
		return excess("there is no room for all that this link and others tell of")
	}
	return nil
}

// base returns what a received record adds to, nil if nothing, and whether that may have come from others.
func (ck *check) base(w *linkv1.Record, r *record) (base *record, tainted bool) {
	switch {
	case r == nil || w.GetSince() == 0 || r.inc != w.GetIncarnation():
		return nil, false
	case r.stage != nil && r.stage.from == ck.ld && r.stage.rec.version == w.GetSince():
		return r.stage.rec, false
	default:
		return r, true
	}
}

// tooMuch is the error of what is beyond a limit; tainted: perhaps only with what others sent.
func tooMuch(limit *LimitError, tainted bool) error {
	if tainted {
		return excess(limit.Error())
	}
	return limit
}

func (ck *check) function(w *linkv1.Record, f *linkv1.Function) error {
	if err := CheckProcedure(f.GetProcedure()); err != nil {
		return broken("%v", err)
	}
	if err := at(w, f.GetAt()); err != nil {
		return err
	}
	switch {
	case f.GetStreamType() > 255 || f.GetIdempotency() > 255 || f.GetPolicy() < 0 || f.GetPolicy() > 255:
		return broken("a function of a kind that cannot be")
	case len(f.GetSchema()) > ck.core.cfg.Limits.SchemaBytes:
		return &LimitError{What: "bytes of a schema's hash", Limit: ck.core.cfg.Limits.SchemaBytes}
	case len(f.GetFits()) > ck.core.cfg.Limits.Fits:
		return &LimitError{What: "schemas that one function fits", Limit: ck.core.cfg.Limits.Fits}
	}
	for _, hash := range f.GetFits() {
		if len(hash) > ck.core.cfg.Limits.SchemaBytes {
			return &LimitError{What: "bytes of a schema's hash", Limit: ck.core.cfg.Limits.SchemaBytes}
		}
	}
	if f.GetDerivation() != 0 && !f.GetRemoved() {
		return checkID(f.GetOrigin())
	}
	return nil
}

// hasFunction reports whether a record, which may be nil, has the function.
func (r *record) hasFunction(f *linkv1.Function) bool {
	if r == nil {
		return false
	}
	m := r.functions
	if f.GetDerivation() != 0 {
		m = r.derived
	}
	it := m[f.GetProcedure()]
	return it != nil && !it.removed
}
