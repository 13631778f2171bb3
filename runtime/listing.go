package rpcmesh

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/coded"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
	"github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

const (
	// maxListedSchemas bounds the schemas of a namespace that are searched for names.
	maxListedSchemas = 1 << 14
	// schemaFetches is how many schemas are fetched at a time.
	schemaFetches = 8
)

// schemaListing is the schemas of a namespace, by one snapshot.
type schemaListing struct {
	table         *mesh.Snapshot
	services      map[string]string // by service, one of its procedures
	schemas       []listedSchema    // each once, with its first procedure
	truncated     bool              // some are left out
	missingSchema string            // the first procedure without one
	index         atomic.Pointer[symbolIndex]
}

// listedSchema is a schema and the first function that has it.
type listedSchema struct {
	procedure string
	hash      SchemaHash
}

// currentListing returns the listing of the current snapshot.
func (ns *Namespace) currentListing() *schemaListing {
	table := ns.node.table.snapshot.Load()
	before := ns.listing.Load()
	if before != nil && before.table == table {
		return before
	}
	l := &schemaListing{table: table, services: map[string]string{}}
	first := map[SchemaHash]string{}
	for f := range table.Leads(ns.name) {
		setMin(l.services, serviceOf(f.Procedure), f.Procedure)
		setMin(first, schemaHash(f.Schema), f.Procedure)
	}
	l.missingSchema = first[SchemaHash{}]
	delete(first, SchemaHash{})
	for hash, procedure := range first {
		l.schemas = append(l.schemas, listedSchema{procedure, hash})
	}
	slices.SortFunc(l.schemas, func(a, b listedSchema) int {
		return cmp.Or(cmp.Compare(a.procedure, b.procedure), slices.Compare(a.hash[:], b.hash[:]))
	})
	l.truncated = len(l.schemas) > maxListedSchemas
	if l.truncated {
		l.schemas = l.schemas[:maxListedSchemas]
	}
	if before != nil && slices.Equal(before.schemas, l.schemas) {
		l.index.Store(before.index.Load())
	}
	ns.listing.Store(l)
	return l
}

// setMin maps key to the least of the procedures that it is given.
func setMin[K comparable](m map[K]string, key K, procedure string) {
	if kept, ok := m[key]; !ok || procedure < kept {
		m[key] = procedure
	}
}

// serviceOf returns the service of a procedure, "pkg.Service" of "/pkg.Service/Method".
func serviceOf(procedure string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	return service
}

// symbolIndex maps symbols to the schemas of a listing that define them. It is built once all schemas have been
// fetched.
type symbolIndex struct {
	entries []symbolEntry // sorted
	owners  [][]int32     // by file, the schemas that contain it
	err     error         // why some could not be fetched
	made    time.Time
}

type symbolEntry struct {
	symbol schema.Symbol
	file   int32
}

func (e symbolEntry) compare(o symbolEntry) int {
	return cmp.Or(cmp.Compare(e.symbol, o.symbol), cmp.Compare(e.file, o.file))
}

// buildIndex returns the index of the listing's schemas, or nil as long as some have to be fetched.
func (l *schemaListing) buildIndex(known *symbols) *symbolIndex {
	x := l.index.Load()
	if x != nil && (x.err == nil || time.Since(x.made) < schemaRetry) {
		return x
	}
	x = &symbolIndex{made: time.Now()}
	files := map[*fileSymbols]int32{}
	for i, s := range l.schemas {
		set := known.get(s.hash)
		if set == nil {
			return nil
		}
		if x.err == nil {
			x.err = set.err
		}
		for _, file := range set.files {
			n, ok := files[file]
			if !ok {
				n = int32(len(x.owners))
				files[file] = n
				x.owners = append(x.owners, nil)
				for _, symbol := range file.symbols {
					x.entries = append(x.entries, symbolEntry{symbol, n})
				}
			}
			x.owners[n] = append(x.owners[n], int32(i))
		}
	}
	slices.SortFunc(x.entries, symbolEntry.compare)
	l.index.Store(x)
	return x
}

// schemasDefining returns the schemas that define a symbol, each once.
func (x *symbolIndex) schemasDefining(symbol schema.Symbol, schemas []listedSchema) (defining []listedSchema) {
	i, _ := slices.BinarySearchFunc(x.entries, symbolEntry{symbol: symbol}, symbolEntry.compare)
	seen := map[int32]bool{}
	for ; i < len(x.entries) && x.entries[i].symbol == symbol; i++ {
		for _, owner := range x.owners[x.entries[i].file] {
			if !seen[owner] {
				seen[owner] = true
				defining = append(defining, schemas[owner])
			}
		}
	}
	return defining
}

// closest sorts schemas by the length of the prefix that their functions' names share with name, which may be a
// file's.
func closest(schemas []listedSchema, name string) []listedSchema {
	name = "/" + strings.ReplaceAll(name, "/", ".")
	common := func(procedure string) int {
		n := 0
		for n < len(procedure) && n < len(name) && procedure[n] == name[n] {
			n++
		}
		return n
	}
	schemas = slices.Clone(schemas)
	slices.SortFunc(schemas, func(a, b listedSchema) int {
		return cmp.Or(common(b.procedure)-common(a.procedure), cmp.Compare(a.procedure, b.procedure), slices.Compare(a.hash[:], b.hash[:]))
	})
	return schemas
}

// findDefining yields the schemas of the namespace that define a symbol, the closest to name first, until yield
// returns false. It fetches those that the node has never seen, and fails where one that might define the symbol
// cannot be fetched.
func (ns *Namespace) findDefining(ctx context.Context, symbol schema.Symbol, name string, yield func(*schema.Set) bool) error {
	l, known := ns.currentListing(), &ns.node.schemas.symbols
	x := l.buildIndex(known)
	if x == nil {
		return ns.fetchDefining(ctx, l, symbol, name, yield)
	}
	for _, s := range closest(x.schemasDefining(symbol, l.schemas), name) {
		set, err := ns.schemaSet(ctx, s)
		if err != nil {
			return err
		}
		if !yield(set) {
			return nil
		}
	}
	return ns.searchError(l, x.err)
}

// fetchDefining is findDefining while some schemas have never been seen.
func (ns *Namespace) fetchDefining(ctx context.Context, l *schemaListing, symbol schema.Symbol, name string, yield func(*schema.Set) bool) (failed error) {
	known := &ns.node.schemas.symbols
	for chunk := range slices.Chunk(closest(l.schemas, name), schemaFetches) {
		ns.fetchSymbols(ctx, chunk)
		if ctx.Err() != nil {
			return connect.Errorf(coded.OfContext(ctx.Err()), "rpcmesh: the schemas of namespace %q did not come in time", ns.name).
				WithCause(context.Cause(ctx))
		}
		for _, s := range chunk {
			symbols := known.get(s.hash)
			switch {
			case symbols == nil:
			case symbols.err != nil:
				failed = symbols.err
			case symbols.has(symbol):
				set, err := ns.schemaSet(ctx, s)
				if err != nil {
					return err
				}
				if !yield(set) {
					return nil
				}
			}
		}
	}
	return ns.searchError(l, failed)
}

// searchError says why not all schemas were searched, if so.
func (ns *Namespace) searchError(l *schemaListing, failed error) error {
	switch {
	case failed != nil:
		return failed
	case l.truncated:
		return connect.Errorf(connect.CodeResourceExhausted,
			"rpcmesh: namespace %q has more schemas than the %d that are looked into", ns.name, maxListedSchemas)
	case l.missingSchema != "":
		return connect.Errorf(connect.CodeNotFound, "rpcmesh: %s was registered without a schema", l.missingSchema)
	}
	return nil
}

// fetchSymbols fetches the schemas whose symbols are unknown, all at once.
func (ns *Namespace) fetchSymbols(ctx context.Context, schemas []listedSchema) {
	var fetching sync.WaitGroup
	defer fetching.Wait()
	for _, s := range schemas {
		if ns.node.schemas.symbols.get(s.hash) != nil {
			continue
		}
		fetching.Go(func() {
			set, err := ns.schemaSet(ctx, s)
			if err == nil || ctx.Err() == nil {
				ns.node.schemas.symbols.add(s.hash, set, err)
			}
		})
	}
}

// schemaSet returns a schema of the namespace.
func (ns *Namespace) schemaSet(ctx context.Context, s listedSchema) (*schema.Set, error) {
	found, err := ns.Schema(ctx, s.procedure)
	if err != nil {
		return nil, err
	}
	if found.Hash() != s.hash {
		return nil, connect.Errorf(connect.CodeUnavailable, "rpcmesh: the schema of %s has just changed", s.procedure)
	}
	return found.set, nil
}
