package rpcmesh

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

const (
	// maxSymbols bounds the symbols that a node keeps; each takes 8 bytes.
	maxSymbols = 4 << 20
	// maxSets bounds the schemas whose symbols are kept.
	maxSets = 2 * maxListedSchemas
	// symbolsMinAge is how long symbols are kept at least before all are dropped to make room.
	symbolsMinAge = time.Minute
	// schemaRetry is the pause before a schema that could not be fetched is asked for again.
	schemaRetry = 5 * time.Second
)

// symbols is which names the schemas define that a node has seen. They outlive the schemas, which are many times
// larger, so that a name that exists nowhere is known to be missing without another fetch.
type symbols struct {
	mu    sync.Mutex
	files map[[sha256.Size]byte]*fileSymbols // shared by all schemas that contain the file
	sets  map[SchemaHash]*setSymbols
	count int // of symbols, in all files

	cleared time.Time
}

var errSymbols = connect.Errorf(connect.CodeResourceExhausted,
	"rpcmesh: the schemas of the node's namespaces define more than %d names, too many to be searched", maxSymbols)

func (s *symbols) full() bool { return s.count > maxSymbols || len(s.sets) > maxSets }

// setSymbols is the symbols of one schema, or why there are none.
type setSymbols struct {
	files  []*fileSymbols
	err    error
	failed time.Time
}

// fileSymbols is the symbols of one file, sorted.
type fileSymbols struct{ symbols []schema.Symbol }

func (s *setSymbols) has(symbol schema.Symbol) bool {
	for _, file := range s.files {
		if _, found := slices.BinarySearch(file.symbols, symbol); found {
			return true
		}
	}
	return false
}

// get returns the symbols of a schema, or nil where the schema must be fetched.
func (s *symbols) get(hash SchemaHash) *setSymbols {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.sets[hash]
	if set != nil && set.err != nil && time.Since(set.failed) > schemaRetry {
		return nil
	}
	return set
}

// add records the symbols of a schema.
func (s *symbols) add(hash SchemaHash, set *schema.Set, err error) {
	learnt := &setSymbols{err: err, failed: time.Now()}
	var files []schema.FileSymbols
	if err == nil {
		files = set.Symbols()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil || s.full() && time.Since(s.cleared) > symbolsMinAge {
		s.files, s.sets = map[[sha256.Size]byte]*fileSymbols{}, map[SchemaHash]*setSymbols{}
		s.count, s.cleared = 0, time.Now()
	}
	if s.full() {
		if len(s.sets) < 2*maxSets {
			s.sets[hash] = &setSymbols{err: errSymbols, failed: time.Now()}
		}
		return
	}
	for _, file := range files {
		kept, ok := s.files[file.Content]
		if !ok {
			kept = &fileSymbols{file.Symbols}
			s.files[file.Content] = kept
			s.count += len(file.Symbols)
		}
		learnt.files = append(learnt.files, kept)
	}
	s.sets[hash] = learnt
}
