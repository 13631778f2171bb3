package mesh

import (
	"bytes"
	"slices"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// Register adds origins to a namespace, or to all members of a group: all of them or none. Errors:
// *UndeclaredError, *NameError, *ExistsError, *PolicyError, *LimitError, [ErrLeft].
func (c *Core) Register(now time.Time, ns string, fns []Function) error {
	c.now = now
	members := c.members(ns)
	if members == nil || c.cfg.Observer {
		return &UndeclaredError{Namespace: ns}
	}
	if c.leaving {
		return ErrLeft
	}
	if err := c.checkFunctions(fns); err != nil {
		return err
	}
	c.recompute()
	for _, s := range members {
		if err := s.checkRegister(fns); err != nil {
			return err
		}
	}
	for _, s := range members {
		for _, fn := range fns {
			if fn.Registered == 0 {
				fn.Registered = now.UnixNano()
			}
			s.registeredAt[fn.Procedure] = now
			s.domain.originate(s.record, &item{fn: fn, hasAge: true})
		}
		s.domain.placeOwnOrigins(true)
	}
	return nil
}

func (c *Core) checkFunctions(fns []Function) error {
	seen := make(map[string]bool, len(fns))
	for i := range fns {
		f := &fns[i]
		if err := CheckProcedure(f.Procedure); err != nil {
			return err
		}
		if seen[f.Procedure] {
			return &NameError{What: "procedure", Name: f.Procedure, Reason: "is registered twice at once"}
		}
		seen[f.Procedure] = true
		if len(f.Schema) > c.cfg.Limits.SchemaBytes {
			return &LimitError{What: "bytes of a schema's hash", Limit: c.cfg.Limits.SchemaBytes}
		}
	}
	return nil
}

// checkRegister checks whether this node may register functions in a namespace.
func (s *namespace) checkRegister(fns []Function) error {
	limits := s.domain.core.cfg.Limits
	switch n := len(fns); {
	case s.record.liveFunctions+n > limits.MemberFunctions:
		return &LimitError{What: "functions of one member", Limit: limits.MemberFunctions}
	case s.domain.liveFunctions+n > limits.Functions:
		return &LimitError{What: "functions of one namespace", Limit: limits.Functions}
	}
	v := s.domain.current()
	for i := range fns {
		f := &fns[i]
		it, _ := v.pick(f.Procedure, inNamespace, nil)
		if own := s.record.functions[f.Procedure]; own != nil && !own.removed {
			it = own
		}
		if it == nil {
			continue
		}
		owner := v.origin(it)
		name := s.domain.core.nameOf(owner)
		if f.Policy == PolicySingle || it.fn.Policy == PolicySingle || it == s.record.functions[f.Procedure] {
			return &ExistsError{Procedure: f.Procedure, Namespace: s.name, Owner: owner, OwnerName: name}
		}
		if it.fn.Policy != f.Policy {
			return &PolicyError{
				Procedure: f.Procedure, Namespace: s.name, Owner: owner, OwnerName: name, Want: it.fn.Policy, Got: f.Policy,
			}
		}
	}
	return nil
}

// nameOf returns the name of a node that is known in some domain, else its id.
func (c *Core) nameOf(id nodeid.ID) string {
	for _, d := range c.domains {
		if name := d.nameOf(id); name != "" {
			return name
		}
	}
	return id.Short()
}

// Fit has an origin of this node say that its schema, own, can stand in for another one. It does nothing
// where the function is not registered with own. Of more than [Limits] allow only the latest are sent.
func (c *Core) Fit(now time.Time, ns, procedure string, own, other []byte) {
	c.now = now
	s := c.namespaces[ns]
	if s == nil || s.record == nil {
		return
	}
	it := s.record.functions[procedure]
	if it == nil || it.removed || !bytes.Equal(it.fn.Schema, own) || it.compatibleWith(other) {
		return
	}
	fits := it.more().compatible
	if n := len(fits) + 1 - c.cfg.Limits.Fits; n > 0 {
		fits = fits[n:]
	}
	again := s.domain.withAge(s.record, it)
	again.extra.compatible = append(slices.Clone(fits), other)
	s.domain.originate(s.record, again)
}

// Unregister withdraws origins of this node. Those that are none are skipped.
func (c *Core) Unregister(now time.Time, ns string, procedures []string) {
	c.now = now
	for _, s := range c.members(ns) {
		if s.record == nil {
			continue
		}
		for _, p := range procedures {
			if it := s.record.functions[p]; it != nil && !it.removed {
				delete(s.registeredAt, p)
				s.domain.originate(s.record, &item{removed: true, fn: Function{Procedure: p}, extra: &extra{at: now}})
			}
		}
	}
}
