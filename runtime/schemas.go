package rpcmesh

import (
	"container/list"
	"context"
	"sync"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

const (
	// maxFetchedSchemas and maxFetchedWeight bound the fetched schemas that a node caches, besides the latest one;
	// the weight is in bytes of memory.
	maxFetchedSchemas = 256
	maxFetchedWeight  = 128 << 20
)

// schemaStore is the schemas that a node has: those of its own functions, while they are registered, and a cache of
// those that it has fetched.
type schemaStore struct {
	identity *identity
	life     *lifetime
	cfg      *Config
	table    *table
	origins  *origins
	symbols  symbols

	mu      sync.Mutex
	own     map[SchemaHash]*ownSchema
	files   map[protoreflect.FileDescriptor]*ownSchema // each file is encoded once
	fetched map[SchemaHash]*list.Element               // of *fetchedSchema
	recent  list.List                                  // the most recently used first
	weight  int
	flights map[SchemaHash]*flight
}

func newSchemaStore(i *identity, life *lifetime, cfg *Config, t *table, os *origins) *schemaStore {
	return &schemaStore{identity: i, life: life, cfg: cfg, table: t, origins: os}
}

// ownSchema is a schema of functions of this node.
type ownSchema struct {
	set  *schema.Set
	file protoreflect.FileDescriptor
	uses int
}

// register returns the schema of each of methods, nil where its Spec has none, and why a file was refused, if one
// was. The schemas are kept until release.
func (ss *schemaStore) register(methods []connect.Method) (adopted []*Schema, failed error) {
	adopted = make([]*Schema, len(methods))
	refused := map[protoreflect.FileDescriptor]bool{}
	ready := map[protoreflect.FileDescriptor]*ownSchema{}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for i, m := range methods {
		md := descriptorOf(m.Spec)
		if md == nil || refused[md.ParentFile()] {
			continue
		}
		file := md.ParentFile()
		if ready[file] == nil {
			own, err := ss.ofFileLocked(file)
			if err != nil {
				refused[file], failed = true, err
				continue
			}
			ready[file] = own
		}
		ready[file].uses++
		adopted[i] = &Schema{set: ready[file].set, method: md}
	}
	return adopted, failed
}

// descriptorOf returns the descriptor in a method's Spec, if it describes that method.
func descriptorOf(spec connect.Spec) protoreflect.MethodDescriptor {
	md, ok := spec.Schema.(protoreflect.MethodDescriptor)
	if !ok || md.ParentFile() == nil || md.Parent() == nil ||
		spec.Procedure != rawcall.ProcedureOf(md) || spec.StreamType != rawcall.StreamTypeOf(md) {
		return nil
	}
	return md
}

// ofFileLocked returns the schema of a file.
func (ss *schemaStore) ofFileLocked(file protoreflect.FileDescriptor) (*ownSchema, error) {
	if own := ss.files[file]; own != nil {
		return own, nil
	}
	set, err := schema.Of(file)
	if err != nil {
		return nil, err
	}
	hash := SchemaHash(set.Hash())
	if own := ss.own[hash]; own != nil {
		return own, nil // another file with the same content
	}
	if ss.own == nil {
		ss.own, ss.files = map[SchemaHash]*ownSchema{}, map[protoreflect.FileDescriptor]*ownSchema{}
	}
	own := &ownSchema{set: set, file: file}
	ss.own[hash], ss.files[file] = own, own
	return own, nil
}

// release releases what register returned.
func (ss *schemaStore) release(adopted []*Schema) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range adopted {
		if s == nil {
			continue
		}
		own := ss.own[s.Hash()]
		own.uses--
		if own.uses == 0 {
			delete(ss.own, s.Hash())
			delete(ss.files, own.file)
		}
	}
}

// cachedLocked returns a schema that need not be fetched, or nil.
func (ss *schemaStore) cachedLocked(hash SchemaHash) *schema.Set {
	if own := ss.own[hash]; own != nil {
		return own.set
	}
	if e := ss.fetched[hash]; e != nil {
		ss.recent.MoveToFront(e)
		return e.Value.(*fetchedSchema).set
	}
	return nil
}

// fetchedSchema is a cached schema, and the namespace of the function that it was fetched for.
type fetchedSchema struct {
	set       *schema.Set
	namespace string
}

// cacheLocked adds a fetched schema to the cache. The namespace that occupies most of the cache makes room for it:
// what others have is not evicted for it.
func (ss *schemaStore) cacheLocked(set *schema.Set, namespace string) {
	if ss.fetched == nil {
		ss.fetched = map[SchemaHash]*list.Element{}
	}
	ss.fetched[SchemaHash(set.Hash())] = ss.recent.PushFront(&fetchedSchema{set, namespace})
	ss.weight += set.Weight()
	for ss.recent.Len() > 1 && (ss.weight > maxFetchedWeight || ss.recent.Len() > maxFetchedSchemas) {
		last := ss.recent.Remove(ss.evictionLocked()).(*fetchedSchema).set
		delete(ss.fetched, SchemaHash(last.Hash()))
		ss.weight -= last.Weight()
	}
}

// evictionLocked returns the next entry to evict, of at least two: not the latest.
func (ss *schemaStore) evictionLocked() *list.Element {
	weights, heaviest := map[string]int{}, ""
	for e := ss.recent.Back(); e != ss.recent.Front(); e = e.Prev() {
		f, _ := e.Value.(*fetchedSchema)
		weights[f.namespace] += f.set.Weight()
		if weights[f.namespace] > weights[heaviest] {
			heaviest = f.namespace
		}
	}
	e := ss.recent.Back()
	for e.Value.(*fetchedSchema).namespace != heaviest {
		e = e.Prev()
	}
	return e
}

// flight is one fetch, for which any number of callers wait.
type flight struct {
	wanted  schemaSource
	cancel  context.CancelFunc
	waiters int           // guarded by the store's lock
	done    chan struct{} // closed when set and err are set
	set     *schema.Set
	err     error
}

// get returns a set, and fetches it unless the node has it. Concurrent callers share one fetch. A failed fetch from
// another origin than w's is not an error of w: it is repeated from w's.
func (ss *schemaStore) get(ctx context.Context, w schemaSource) (*schema.Set, error) {
	for {
		set, f := ss.joinOrFetch(w)
		if f == nil {
			return set, nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			ss.leaveFlight(f)
			return nil, connect.Errorf(coded.OfContext(ctx.Err()), "rpcmesh: the schema of %s did not come in time from node %q", w.procedure, w.from.Name).
				WithCause(context.Cause(ctx))
		}
		if f.err == nil || f.wanted.from == w.from {
			return f.set, f.err
		}
	}
}

// joinOrFetch returns the set if the node has it, or else the fetch of it, which it starts if none is running.
func (ss *schemaStore) joinOrFetch(w schemaSource) (*schema.Set, *flight) {
	ss.mu.Lock()
	set, f := ss.cachedLocked(w.hash), ss.flights[w.hash]
	if set != nil || f != nil {
		defer ss.mu.Unlock()
		if f != nil {
			f.waiters++
		}
		return set, f
	}
	timeout := ss.cfg.CallTimeout
	if timeout <= 0 {
		timeout = DefaultCallTimeout
	}
	ctx, cancel := context.WithTimeout(ss.life.ctx, timeout)
	f = &flight{wanted: w, cancel: cancel, waiters: 1, done: make(chan struct{})}
	if ss.flights == nil {
		ss.flights = map[SchemaHash]*flight{}
	}
	ss.flights[w.hash] = f
	ss.mu.Unlock()
	if !ss.life.spawn(func() { ss.fly(f, func() (*schema.Set, error) { return ss.fetchSet(ctx, w) }) }) {
		ss.fly(f, func() (*schema.Set, error) { return nil, errClosed() })
	}
	return nil, f
}

// fly runs a fetch.
func (ss *schemaStore) fly(f *flight, fetch func() (*schema.Set, error)) {
	defer f.cancel()
	f.set, f.err = fetch()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.dropLocked(f)
	if f.err == nil && ss.cachedLocked(f.wanted.hash) == nil {
		ss.cacheLocked(f.set, f.wanted.from.Namespace)
	}
	close(f.done)
}

// leaveFlight stops waiting for a fetch. The last one who does cancels it.
func (ss *schemaStore) leaveFlight(f *flight) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	f.waiters--
	if f.waiters == 0 {
		ss.dropLocked(f)
		f.cancel()
	}
}

// dropLocked lets the next caller who wants the schema fetch it again.
func (ss *schemaStore) dropLocked(f *flight) {
	if ss.flights[f.wanted.hash] == f {
		delete(ss.flights, f.wanted.hash)
	}
}

// load returns the schema of one of this node's functions, or one that was fetched before, or fetches it.
func (ss *schemaStore) load(ctx context.Context, w schemaSource) (*Schema, error) {
	if w.from.Local {
		if m := ss.origins.lookup(w.from.Namespace, w.procedure); m != nil && m.schema != nil {
			return m.schema, nil
		}
		return nil, ss.identity.notStartedError(ss.identity.withdrawnInfo(w.from.Namespace, w.procedure), "the function was withdrawn")
	}
	set, err := ss.get(ctx, w)
	if err != nil {
		return nil, err
	}
	return methodSchema(set, w)
}
