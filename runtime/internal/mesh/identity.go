package mesh

import (
	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// outdoWithin is by how much a node outdoes an incarnation at most: a millisecond.
const outdoWithin = 1_000_000

// takeOwn takes in what others tell of this very node. It reports whether that is all there is to do
// with it. This node knows better, always: what is older is answered, what is newer is outdone.
func (c *Core) takeOwn(ld *linkDomain, v vertex, w *linkv1.Record) bool {
	if c.cfg.Observer {
		return false
	}
	inc, version := w.GetIncarnation(), w.GetVersion()
	s := c.spaces[v.ns]
	mine := s != nil && s.own != nil
	here := mine && s.db == ld.db
	if here {
		ld.of(s.own).has(inc, version, w.GetFloor())
	}
	switch {
	case inc > c.inc || inc == c.inc && version > maxVersion/2:
		c.outdo(inc, start(w))
		return true
	case inc == c.inc && mine && version > s.own.version:
		c.restate(s, version)
	case here:
		ld.enqueue(s.own)
	case inc == c.inc && !mine:
		return true // this node is no such member
	}
	return here
}

// outdo makes this node's records later than one that bears its id but is not its own: of an
// earlier life, if clocks went back, or of another living node by the same name. That one does the
// same; it gives itself away by answering what was said here.
func (c *Core) outdo(inc, start uint64) {
	if c.yielded {
		return
	}
	if c.rebutted && inc-c.inc <= outdoWithin && start != c.cfg.Incarnation {
		if err := c.meet(start); err.Yield {
			return
		}
	}
	c.rebutted = true
	c.inc = inc + 1 + c.cfg.Incarnation%outdoWithin // another life of this node does not choose the same
	for _, s := range c.declared {
		if s.own != nil {
			c.restate(s, 0)
		}
	}
}

// meet settles which of two living nodes with this node's id may stay: the one that started first.
func (c *Core) meet(start uint64) *DuplicateError {
	e := Event{Kind: NodeDuplicated, Node: c.cfg.ID, Name: c.cfg.Info.GetName()}
	err := c.duplicate(start <= c.cfg.Incarnation)
	if err.Yield {
		c.yielded = true
		e.Kind = NodeYields
	}
	e.Cause = err.Error()
	c.events = append(c.events, e)
	return err
}

func (c *Core) duplicate(yield bool) *DuplicateError {
	return &DuplicateError{Node: c.cfg.ID, Name: c.cfg.Info.GetName(), Yield: yield}
}
