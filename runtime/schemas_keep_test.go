package rpcmesh

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

// TestFetchedSchemasAreBoundedByWeight: what is kept of fetched schemas is bounded by the memory that they take, which
// is many times that of their encoding; the latest stays, however heavy.
func TestFetchedSchemasAreBoundedByWeight(t *testing.T) {
	const heavy = 30_000 // messages: some 30 MiB
	set := func(name string, messages int) *schema.Set {
		file := &descriptorpb.FileDescriptorProto{Name: &name}
		for i := range messages {
			file.MessageType = append(file.MessageType, &descriptorpb.DescriptorProto{Name: new(fmt.Sprint("m", i))})
		}
		encoded, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := schema.Parse(encoded, sha256.Sum256(encoded))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var ss schemaStore
	var last *schema.Set
	few := set("few", 100)
	ss.cacheLocked(few, "few")
	for i := range 6 {
		last = set(fmt.Sprint("heavy", i), heavy)
		ss.cacheLocked(last, "heavy")
		if ss.weight > maxFetchedWeight {
			t.Fatalf("%d schemas of %d bytes are kept", ss.recent.Len(), ss.weight)
		}
	}
	if n := ss.recent.Len(); n < 3 || n > 5 {
		t.Errorf("%d heavy schemas are kept", n)
	}
	if ss.cachedLocked(SchemaHash(last.Hash())) != last {
		t.Error("the latest is not among them")
	}
	for i := range maxFetchedSchemas + 1 {
		ss.cacheLocked(set(fmt.Sprint("light", i), 1), fmt.Sprint(i%2))
	}
	if ss.cachedLocked(SchemaHash(few.Hash())) != few {
		t.Error("others displaced what a namespace had few of")
	}
	weight := 0
	for e := ss.recent.Front(); e != nil; e = e.Next() {
		weight += e.Value.(*fetchedSchema).set.Weight()
	}
	if n := ss.recent.Len(); n != maxFetchedSchemas || len(ss.fetched) != n || ss.weight != weight {
		t.Errorf("%d schemas of %d bytes are kept, and counted as %d", n, weight, ss.weight)
	}
}
