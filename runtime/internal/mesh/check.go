package mesh

import (
	"fmt"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// check is what is told, as far as it has been looked at: nothing of a table is taken in before all
// of it is known to be good.
type check struct {
	core      *Core
	ld        *linkDomain
	members   int // new ones
	functions int // likewise
}

func broken(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

func (ck *check) table(t *linkv1.Table) error {
	if t.GetSeen() > ck.ld.sent {
		return broken("it has seen tables that were not sent")
	}
	if ck.ld.link.peer.Observer && len(t.GetRecords()) > 0 {
		return broken("a proxy tells of members")
	}
	for _, w := range t.GetRecords() {
		if err := ck.record(w); err != nil {
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
		if err := ck.ack(a); err != nil {
			return err
		}
	}
	return nil
}

func (ck *check) name(node []byte, ns string) error {
	if err := checkID(node); err != nil || ns == "" {
		return err
	}
	if err := CheckNamespace(ns); err != nil {
		return broken("%v", err)
	}
	return nil
}

func checkID(node []byte) error {
	if len(node) != len(NodeID{}) {
		return broken("a node's id has %d bytes", len(node))
	}
	return nil
}

func (ck *check) ack(a *linkv1.Seen) error {
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

// record checks what is told of one member.
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
	limits := ck.core.cfg.Limits
	r := ck.ld.db.byVertex[ck.ld.vertex(w.GetNode(), w.GetNamespace())]
	if r == nil {
		ck.members++
		if len(ck.ld.db.byVertex)+ck.members > limits.Members {
			return &LimitError{What: "members of one namespace", Limit: limits.Members}
		}
	}
	if err := ck.about(w); err != nil {
		return err
	}
	if err := ck.links(w, r); err != nil {
		return err
	}
	return ck.allFunctions(w, r)
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
	if n := len(w.GetNeighbours()); n > limits.Neighbours || r != nil && n > 0 && len(r.neighbours)+n > 2*limits.Neighbours {
		return &LimitError{What: "neighbours of one member", Limit: limits.Neighbours}
	}
	for _, n := range w.GetNeighbours() {
		if err := checkID(n.GetNode()); err != nil {
			return err
		}
		if err := at(w, n.GetAt()); err != nil {
			return err
		}
		if n.GetCost() == 0 && !n.GetRemoved() {
			return broken("a link that costs nothing")
		}
	}
	if n := len(w.GetBridges()); n > limits.Namespaces || r != nil && n > 0 && len(r.bridges)+n > 2*limits.Namespaces {
		return &LimitError{What: "bridges of one member", Limit: limits.Namespaces}
	}
	for _, b := range w.GetBridges() {
		if err := CheckNamespace(b.GetNamespace()); err != nil {
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
	live := 0
	for _, f := range w.GetFunctions() {
		if err := ck.function(w, f); err != nil {
			return err
		}
		if !f.GetRemoved() && !r.offers(f) {
			live++
		}
	}
	ck.functions += live
	if r != nil && r.inc == w.GetIncarnation() {
		live += r.live
		if r.stage != nil {
			live = max(live, r.stage.rec.live+len(w.GetFunctions()))
		}
	}
	if live > limits.MemberFunctions {
		return &LimitError{What: "functions of one member", Limit: limits.MemberFunctions}
	}
	if ck.ld.db.size+ck.ld.db.staged+ck.functions > limits.Functions {
		return &LimitError{What: "functions of one namespace", Limit: limits.Functions}
	}
	return nil
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

// offers reports whether a record, which may be nil, has the function.
func (r *record) offers(f *linkv1.Function) bool {
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
