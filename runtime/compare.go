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
	// comparePause is the pause before a schema that could not be fetched is asked for again; it doubles up to
	// maxComparePause.
	comparePause    = time.Second
	maxComparePause = time.Minute
)

// schemaComparisons decides which replicas of this node may serve although an earlier origin has another schema.
// While there is something to compare, one goroutine runs.
type schemaComparisons struct {
	identity *identity
	life     *lifetime
	log      *logger
	table    *table
	origins  *origins
	schemas  *schemaStore
	wake     chan struct{}

	mu        sync.Mutex
	due       map[originKey]comparison // at most one per function of the node
	postponed map[originKey]comparison // whose schema could not be fetched
	running   bool
}

// newSchemaComparisons returns comparisons to which the table reports differing schemas from now on.
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

// comparison is one function of this node that is excluded as long as the schema lead is the first origin's.
type comparison struct {
	originKey
	lead   SchemaHash
	logged bool // that it failed has been logged
}

// schedule schedules the comparison that the core asks for. It does not block.
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

// run runs comparisons until none is left or the node is closed.
func (cs *schemaComparisons) run() {
	pause := comparePause
	for {
		batch, done := cs.nextBatch()
		if done {
			return
		}
		cs.compareBatch(batch)
		if len(batch) == 0 { // all that is left is postponed
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

// nextBatch returns the comparisons that are due. It reports done where none is left, not even postponed ones: then
// the goroutine must end.
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

// retryPostponed makes the postponed comparisons due.
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

// postpone postpones a comparison, unless a newer one is due.
func (cs *schemaComparisons) postpone(c comparison) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, newer := cs.due[c.originKey]; !newer {
		cs.postponed[c.originKey] = c
	}
}

// compareBatch compares the functions of a batch. It does not ask twice for a schema that could not be fetched.
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
			missing[c.lead] = connect.CodeOf(err) != connect.CodeDataLoss // data_loss may concern this function alone
			if !c.logged {
				cs.log.Warn("replica kept out: its schema cannot be compared with that of the first origin",
					"namespace", c.namespace, "procedure", c.procedure, "reason", err.Error())
				c.logged = true
			}
		}
		cs.postpone(c)
	}
}

// compare decides whether a function of this node may serve beside the first origin. It fails where that one's schema
// cannot be fetched. Where things have changed meanwhile, it does nothing.
func (cs *schemaComparisons) compare(c comparison) error {
	m := cs.origins.lookup(c.namespace, c.procedure)
	w, err := findSchema(cs.table.snapshot.Load(), c.namespace, c.procedure)
	if m == nil || m.schema == nil || err != nil || w.hash != c.lead || w.from.Local {
		return nil //nolint:nilerr // there is nothing to compare any more
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
