package rpcmesh

import (
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
	"github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

const (
	// comparePause is how long a node waits before it asks again for a schema that it could not get; it
	// doubles to maxComparePause.
	comparePause    = time.Second
	maxComparePause = time.Minute
)

// schemaComparisons are the node's replicated functions that met an earlier origin of another schema. While there
// are any, one goroutine finds out whether the two can serve together.
type schemaComparisons struct {
	identity *identity
	life     *lifetime
	log      *logger
	table    *table
	origins  *origins
	schemas  *schemaStore
	wake     chan struct{}

	mu        sync.Mutex
	due       map[originKey]comparison // at most one for each function of the node
	postponed map[originKey]comparison // whose schema could not be had
	running   bool
}

// newSchemaComparisons returns comparisons that the table asks for from now on.
func newSchemaComparisons(
	i *identity, life *lifetime, log *logger, t *table, os *origins, ss *schemaStore,
) *schemaComparisons {
	cs := &schemaComparisons{
		identity: i, life: life, log: log, table: t, origins: os, schemas: ss, wake: make(chan struct{}, 1),
		due: map[originKey]comparison{}, postponed: map[originKey]comparison{},
	}
	t.onDifference = cs.schedule
	return cs
}

// comparison is one function of this node that is kept out as long as the schema of that hash leads.
type comparison struct {
	originKey
	lead   SchemaHash
	logged bool // an attempt has, and was logged
}

// schedule takes up what the core asks for. It waits for nothing.
func (cs *schemaComparisons) schedule(e mesh.Event) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	key := originKey{e.Namespace, e.Procedure}
	cs.due[key] = comparison{originKey: key, lead: schemaHash(e.Schema)}
	delete(cs.postponed, key)
	if !cs.running {
		cs.running = true
		cs.life.tasks.Go(cs.run)
		return
	}
	select {
	case cs.wake <- struct{}{}:
	default:
	}
}

// runComparisons works on comparisons until there are none, or the node is closed.
func (cs *schemaComparisons) run() {
	pause := comparePause
	for {
		batch, done := cs.nextBatch()
		if done {
			return
		}
		cs.compareBatch(batch)
		if len(batch) == 0 { // what is left is for later
			timer := time.NewTimer(pause)
			pause = min(duration.Times(pause, 2), maxComparePause)
			select {
			case <-cs.wake:
				pause = comparePause
			case <-timer.C:
			case <-cs.life.ctx.Done():
			}
			timer.Stop()
			cs.retryPostponed()
		}
		if cs.life.ctx.Err() != nil {
			return
		}
	}
}

// nextBatch returns what is due. It reports done, and the goroutine as ended, where nothing is left at all.
func (cs *schemaComparisons) nextBatch() (batch map[originKey]comparison, done bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	batch, cs.due = cs.due, map[originKey]comparison{}
	if len(batch) == 0 && len(cs.postponed) == 0 {
		cs.running = false
		return nil, true
	}
	return batch, false
}

// retryPostponed makes due what was for later.
func (cs *schemaComparisons) retryPostponed() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for key, c := range cs.postponed {
		if _, newer := cs.due[key]; !newer {
			cs.due[key] = c
		}
	}
	clear(cs.postponed)
}

// postpone keeps a comparison for later, unless there is a newer one.
func (cs *schemaComparisons) postpone(c comparison) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, newer := cs.due[c.originKey]; !newer {
		cs.postponed[c.originKey] = c
	}
}

// compareBatch compares, and asks for no schema again that could not be had.
func (cs *schemaComparisons) compareBatch(batch map[originKey]comparison) {
	missing := map[SchemaHash]bool{}
	for _, c := range batch {
		if cs.life.ctx.Err() != nil {
			return
		}
		if !missing[c.lead] {
			err := cs.compare(c)
			if err == nil {
				continue
			}
			missing[c.lead] = connect.CodeOf(err) != connect.CodeDataLoss // which may be of this function alone
			if !c.logged {
				cs.log.Warn("replica kept out: its schema cannot be compared with that of the first origin",
					"namespace", c.namespace, "procedure", c.procedure, "reason", err.Error())
				c.logged = true
			}
		}
		cs.postpone(c)
	}
}

// compare finds out whether a function of this node can serve beside the one that leads. It fails where the
// schema of that cannot be had; where things have changed meanwhile, there is nothing to do.
func (cs *schemaComparisons) compare(c comparison) error {
	m := cs.origins.lookup(c.namespace, c.procedure)
	w, err := findSchema(cs.table.snapshot.Load(), c.namespace, c.procedure)
	if m == nil || m.schema == nil || err != nil || w.hash != c.lead || w.from.Local {
		return nil
	}
	lead, err := cs.schemas.load(cs.life.ctx, w)
	if err != nil {
		return err
	}
	difference := schema.Difference(lead.method, m.schema.method)
	if difference == "" {
		cs.table.fit(c.namespace, c.procedure, hashBytes(m.schema), c.lead[:])
		return nil
	}
	cs.log.Warn("replica kept out: its schema does not fit that of the first origin", "namespace", c.namespace,
		"procedure", c.procedure, "first", w.from.Name, "reason", difference)
	cs.table.notifyWatchers(Event{
		Kind: FunctionIncompatible, Time: time.Now(), Namespace: c.namespace, Node: cs.identity.id, NodeName: cs.identity.name,
		Procedure: c.procedure, Cause: difference,
	})
	return nil
}
