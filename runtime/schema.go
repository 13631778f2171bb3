package rpcmesh

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
	"github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

// SchemaHash is the SHA-256 of a [Schema]'s descriptors in their deterministic encoding. Zero is the hash
// of no schema.
type SchemaHash [sha256.Size]byte

// String returns the hash in hexadecimal.
func (h SchemaHash) String() string { return hex.EncodeToString(h[:]) }

// schemaHash returns the hash that a table carries, or zero where it is not of this version's kind.
func schemaHash(b []byte) SchemaHash {
	if len(b) != sha256.Size {
		return SchemaHash{}
	}
	return SchemaHash(b)
}

// Schema is what a function takes and gives, as its origin registered it. It is immutable and may be used
// concurrently.
type Schema struct {
	set    *schema.Set
	method protoreflect.MethodDescriptor
}

// Hash returns the hash that tables carry.
func (s *Schema) Hash() SchemaHash { return SchemaHash(s.set.Hash()) }

// Method describes the function.
func (s *Schema) Method() protoreflect.MethodDescriptor { return s.method }

// Size returns about how many bytes of memory the schema takes, rather more than less.
func (s *Schema) Size() int { return s.set.Weight() }

// Files returns the file that defines the function's service and all that it imports, each after those
// that it imports. It is shared: do not change it.
func (s *Schema) Files() *descriptorpb.FileDescriptorSet { return s.set.Files() }

// Schema returns the schema of a function that can be called in the namespace, of the origin that calls
// go to; of a replicated one, of the origin that was registered first. It is fetched from there unless this
// node has it. It fails with unimplemented where the function cannot be called, with not_found where its
// origin registered it without a schema, with data_loss where what was fetched does not fit its hash or the
// table, with resource_exhausted where it is longer than 4 MiB, and as calls do. Without a deadline it takes
// [Config.CallTimeout] at most.
func (ns *Namespace) Schema(ctx context.Context, procedure string) (*Schema, error) {
	if ns.err != nil {
		return nil, ns.err
	}
	n := ns.node
	if _, limited := ctx.Deadline(); !limited && n.cfg.CallTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, n.cfg.CallTimeout)
		defer cancel()
	}
	for attempt := 1; ; attempt++ {
		if n.life.ctx.Err() != nil {
			return nil, n.identity.nodeClosedError()
		}
		table := n.table.snapshot.Load()
		w, err := findSchema(table, ns.name, procedure)
		if errors.Is(err, errAbsent) {
			deadline, _ := ctx.Deadline()
			err = n.calls.awaitFunction(ctx, deadline, ns.name, procedure, nil)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		s, err := n.schemas.load(ctx, w)
		if err == nil || attempt == maxAttempts {
			return s, err
		}
		if again, _ := findSchema(n.table.snapshot.Load(), ns.name, procedure); again == w && !retryableFetch(err) {
			return nil, err
		}
		if !n.table.awaitChange(ctx, table, min(duration.Times(retryPause, 1<<(attempt-1)), maxRetryPause)) {
			return nil, err
		}
	}
}

// Schema returns the schema of a function that can be called. See [Namespace.Schema].
func (p *Proxy) Schema(ctx context.Context, procedure string) (*Schema, error) {
	return p.ns.Schema(ctx, procedure)
}

// schemaSource is the schema of one function, and the origin to fetch it from.
type schemaSource struct {
	procedure string
	kind      connect.StreamType
	hash      SchemaHash
	from      mesh.Target
}

// findSchema looks up a function's schema. It fails with errAbsent where there is no such function.
func findSchema(table *mesh.Snapshot, namespace, procedure string) (schemaSource, error) {
	f, target, ok := table.Lead(namespace, procedure)
	if !ok {
		return schemaSource{}, errAbsent
	}
	w := schemaSource{procedure: procedure, kind: connect.StreamType(f.StreamType), hash: schemaHash(f.Schema), from: target}
	if w.hash == (SchemaHash{}) {
		return w, connect.Errorf(connect.CodeNotFound,
			"rpcmesh: node %q registered %s without a schema", target.Name, procedure)
	}
	return w, nil
}

// retryableFetch reports whether the cause of a failed fetch may be temporary: a broken route, or an origin that has
// another schema by now.
func retryableFetch(err error) bool {
	code := connect.CodeOf(err)
	return code == connect.CodeUnavailable || code == connect.CodeNotFound
}

// methodSchema returns the schema of the function that w names, out of a set.
func methodSchema(set *schema.Set, w schemaSource) (*Schema, error) {
	md, err := set.Method(w.procedure, w.kind&connect.StreamTypeClient != 0, w.kind&connect.StreamTypeServer != 0)
	if err != nil {
		return nil, connect.Errorf(connect.CodeDataLoss, "rpcmesh: the schema that node %q gave: %v", w.from.Name, err)
	}
	return &Schema{set: set, method: md}, nil
}
