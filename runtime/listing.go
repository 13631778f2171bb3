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

	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
	"github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

const (
	// maxListedSchemas bounds the schemas of a namespace that names are looked for in.
	maxListedSchemas = 1 << 14
	// schemaFetches is how many schemas are asked for at a time.
	schemaFetches = 8
)

// listing is what a table says of the schemas of a namespace.
type listing struct {
	table    *mesh.Snapshot
	services map[string]string // a procedure of each
	schemas  []listedSchema    // each once, by its first procedure
	tooMany  bool              // some are left out
	without  string            // the first procedure without one
	index    atomic.Pointer[symbolIndex]
}

// listedSchema is a schema and the first function that has it.
type listedSchema struct {
	procedure string
	hash      SchemaHash
}

// listing returns that of the present table.
func (ns *Namespace) listing() *listing {
	table := ns.node.table.Load()
	before := ns.listed.Load()
	if before != nil && before.table == table {
		return before
	}
	l := &listing{table: table, services: map[string]string{}}
	first := map[SchemaHash]string{}
	for f := range table.Leads(ns.name) {
		keepFirst(l.services, serviceOf(f.Procedure), f.Procedure)
		keepFirst(first, schemaHash(f.Schema), f.Procedure)
	}
	l.without = first[SchemaHash{}]
	delete(first, SchemaHash{})
	for hash, procedure := range first {
		l.schemas = append(l.schemas, listedSchema{procedure, hash})
	}
	slices.SortFunc(l.schemas, func(a, b listedSchema) int {
		return cmp.Or(cmp.Compare(a.procedure, b.procedure), slices.Compare(a.hash[:], b.hash[:]))
	})
	if l.tooMany = len(l.schemas) > maxListedSchemas; l.tooMany {
		l.schemas = l.schemas[:maxListedSchemas]
	}
	if before != nil && slices.Equal(before.schemas, l.schemas) {
		l.index.Store(before.index.Load())
	}
	ns.listed.Store(l)
	return l
}

// keepFirst maps key to the first in order of what it is given.
func keepFirst[K comparable](m map[K]string, key K, procedure string) {
	if kept, ok := m[key]; !ok || procedure < kept {
		m[key] = procedure
	}
}

// serviceOf returns the service of a procedure, "pkg.Service" of "/pkg.Service/Method".
func serviceOf(procedure string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	return service
}

// symbolIndex says which schemas of a listing define a symbol. It is made once all of them have been asked for.
type symbolIndex struct {
	entries []symbolEntry // sorted
	owners  [][]int32     // by file: the schemas that have it
	err     error         // why some could not be had
	made    time.Time
}

type symbolEntry struct {
	symbol schema.Symbol
	file   int32
}

func (e symbolEntry) compare(o symbolEntry) int {
	return cmp.Or(cmp.Compare(e.symbol, o.symbol), cmp.Compare(e.file, o.file))
}

// indexed returns the index of the listing's schemas, or nil as long as some are to be asked for.
func (l *listing) indexed(known *symbols) *symbolIndex {
	x := l.index.Load()
	if x != nil && (x.err == nil || time.Since(x.made) < schemaRetry) {
		return x
	}
	x = &symbolIndex{made: time.Now()}
	files := map[*fileSymbols]int32{}
	for i, s := range l.schemas {
		set := known.known(s.hash)
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

// defining returns the schemas that define a symbol, each once.
func (x *symbolIndex) defining(symbol schema.Symbol, schemas []listedSchema) (defining []listedSchema) {
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

// closest sorts schemas: those first whose functions' names have the most in common with name, which may be a
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

// defining yields the schemas of the namespace that define a symbol, the closest to name first, until yield
// returns false. It asks for those that were never seen, and fails where one that might define the symbol
// can't be had.
func (ns *Namespace) defining(ctx context.Context, symbol schema.Symbol, name string, yield func(*schema.Set) bool) error {
	l, known := ns.listing(), &ns.node.symbols
	x := l.indexed(known)
	if x == nil {
		return ns.askAll(ctx, l, symbol, name, yield)
	}
	for _, s := range closest(x.defining(symbol, l.schemas), name) {
		set, err := ns.setOf(ctx, s)
		if err != nil {
			return err
		}
		if !yield(set) {
			return nil
		}
	}
	return ns.incomplete(l, x.err)
}

// askAll is defining while some schemas were never seen.
func (ns *Namespace) askAll(ctx context.Context, l *listing, symbol schema.Symbol, name string, yield func(*schema.Set) bool) (failed error) {
	known := &ns.node.symbols
	for chunk := range slices.Chunk(closest(l.schemas, name), schemaFetches) {
		ns.fetchSymbols(ctx, chunk)
		if ctx.Err() != nil {
			return connect.Errorf(codeOfContext(ctx), "rpcmesh: the schemas of namespace %q did not come in time", ns.name).
				WithCause(context.Cause(ctx))
		}
		for _, s := range chunk {
			symbols := known.known(s.hash)
			switch {
			case symbols == nil:
			case symbols.err != nil:
				failed = symbols.err
			case symbols.has(symbol):
				set, err := ns.setOf(ctx, s)
				if err != nil {
					return err
				}
				if !yield(set) {
					return nil
				}
			}
		}
	}
	return ns.incomplete(l, failed)
}

// incomplete is why the schemas that were looked into are not all, if so.
func (ns *Namespace) incomplete(l *listing, failed error) error {
	switch {
	case failed != nil:
		return failed
	case l.tooMany:
		return connect.Errorf(connect.CodeResourceExhausted,
			"rpcmesh: namespace %q has more schemas than the %d that are looked into", ns.name, maxListedSchemas)
	case l.without != "":
		return connect.Errorf(connect.CodeNotFound, "rpcmesh: %s was registered without a schema", l.without)
	}
	return nil
}

// fetchSymbols learns what the schemas define that are not known yet, all at once.
func (ns *Namespace) fetchSymbols(ctx context.Context, schemas []listedSchema) {
	var fetching sync.WaitGroup
	defer fetching.Wait()
	for _, s := range schemas {
		if ns.node.symbols.known(s.hash) != nil {
			continue
		}
		fetching.Go(func() {
			set, err := ns.setOf(ctx, s)
			if err == nil || ctx.Err() == nil {
				ns.node.symbols.learn(s.hash, set, err)
			}
		})
	}
}

// setOf returns a schema of the namespace.
func (ns *Namespace) setOf(ctx context.Context, s listedSchema) (*schema.Set, error) {
	found, err := ns.Schema(ctx, s.procedure)
	if err != nil {
		return nil, err
	}
	if found.Hash() != s.hash {
		return nil, connect.Errorf(connect.CodeUnavailable, "rpcmesh: the schema of %s has just changed", s.procedure)
	}
	return found.set, nil
}
