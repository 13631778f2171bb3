package rpcmesh

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
	"github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

// This file implements the protocol of proto/rpcmesh/v1/schema.proto.

const (
	schemaService   = "/rpcmesh.v1.SchemaService/"
	schemaProcedure = schemaService + "GetSchema"
	// schemaFunction is the header that names the function whose schema is wanted.
	schemaFunction = "Rpcmesh-Procedure"
	// maxPiece is how many bytes of a schema one message carries; the message is at most pieceOverhead longer.
	maxPiece      = 32 << 10
	pieceOverhead = 16
	// minSchemaMessage is the least limit on messages with which a schema can be sent.
	minSchemaMessage = 64
)

// reserved reports whether every node serves procedure itself.
func reserved(procedure string) bool { return strings.HasPrefix(procedure, schemaService) }

// routeSchema routes a call of GetSchema: it goes where a call of the function in question would go.
func (rt *router) routeSchema(in *link.Incoming) link.Route {
	header, err := in.Header()
	if err != nil || in.Procedure != schemaProcedure || in.StreamType != connect.StreamTypeServer {
		return refuseWith(ErrorInfo{Reason: ReasonFunctionUnknown, Metadata: map[string]string{"procedure": truncate(in.Procedure)}},
			connect.CodeUnimplemented, "the node serves no such function")
	}
	procedure := header.Get(schemaFunction)
	d := rt.table.snapshot.Load().RouteLead(in.Namespace, in.Origin, in.OriginNamespace, procedure)
	switch d.Action {
	case mesh.Local:
		if m := rt.origins.lookup(d.Namespace, procedure); m != nil {
			return link.Route{Serve: m.serveSchema}
		}
		return rt.refuseWithdrawn(in)
	case mesh.Forward:
		return rt.forward(&d.Target)
	case mesh.None:
	}
	return rt.identity.refuseRouteLost()
}

// serveSchema serves one call of GetSchema for the function, on a worker of the node.
func (m *localFunction) serveSchema(call *link.ServerCall) {
	os := m.origins
	os.beginCall()
	defer os.endCall()
	verdict, _ := callerError(m.sendSchema(call))
	_ = call.End(verdict, nil) // it fails where the caller has left
}

func (m *localFunction) sendSchema(call *link.ServerCall) error {
	b, err := call.Receive()
	if err != nil {
		return err
	}
	var req rpcmeshv1.GetSchemaRequest
	if err := proto.Unmarshal(b, &req); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, "the request is not a valid message of its type").WithCause(err)
	}
	if m.schema == nil || !bytes.Equal(req.GetHash(), hashBytes(m.schema)) {
		return connect.NewError(connect.CodeNotFound, "the function has another schema")
	}
	limit := min(int(req.GetMaxMessage()), m.origins.cfg.Limits.MaxMessage)
	if limit < minSchemaMessage {
		return connect.Errorf(connect.CodeResourceExhausted, "a schema comes in messages of %d bytes at least", minSchemaMessage)
	}
	size := min(limit-pieceOverhead, maxPiece)
	var msg []byte
	var options proto.MarshalOptions
	for piece := range slices.Chunk(m.schema.set.Encoded(), size) {
		if msg, err = options.MarshalAppend(msg[:0], &rpcmeshv1.GetSchemaResponse{Piece: piece}); err != nil {
			return err
		}
		if err := call.Send(msg); err != nil {
			return err
		}
	}
	return nil
}

func hashBytes(s *Schema) []byte {
	hash := s.Hash()
	return hash[:]
}

// fetchSet fetches a schema from its origin.
func (ss *schemaStore) fetchSet(ctx context.Context, w schemaSource) (*schema.Set, error) {
	encoded, err := ss.fetchEncoded(ctx, w)
	if err != nil {
		return nil, err
	}
	set, err := schema.Parse(encoded, schema.Hash(w.hash))
	if err == nil {
		return set, nil
	}
	code := connect.CodeDataLoss
	if _, ok := errors.AsType[*schema.LimitError](err); ok {
		code = connect.CodeResourceExhausted
	}
	return nil, schemaError(code, w, err.Error())
}

func schemaError(code connect.Code, w schemaSource, what string) error {
	return connect.Errorf(code, "rpcmesh: the schema of %s that node %q gave cannot be used: %s", w.procedure, w.from.Name, what)
}

func (ss *schemaStore) fetchEncoded(ctx context.Context, w schemaSource) ([]byte, error) {
	s := ss.table.session(w.from.Link)
	if s == nil {
		return nil, ss.identity.linkLostError()
	}
	var header connect.Header
	header.Set(schemaFunction, w.procedure)
	call, err := s.link.NewCall(ctx, link.Open{
		Namespace: w.from.LinkNamespace, Procedure: schemaProcedure,
		Origin: w.from.Node, OriginNamespace: w.from.Namespace,
		Hops: link.MaxHops, StreamType: connect.StreamTypeServer, Header: &header,
	})
	if err != nil {
		return nil, ss.identity.failedBy(err, notStarted)
	}
	defer func() { _ = call.Close() }() // always nil
	request, err := proto.Marshal(&rpcmeshv1.GetSchemaRequest{Hash: w.hash[:], MaxMessage: uint32(ss.cfg.Limits.MaxMessage)})
	if err != nil {
		return nil, err
	}
	if err := call.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, ss.identity.callError(call, err, false)
	}
	var encoded []byte
	for {
		b, err := call.Receive()
		if errors.Is(err, io.EOF) {
			return encoded, nil
		}
		if err != nil {
			return nil, ss.identity.callError(call, err, false)
		}
		var piece rpcmeshv1.GetSchemaResponse
		if err := proto.Unmarshal(b, &piece); err != nil {
			return nil, schemaError(connect.CodeDataLoss, w, "it comes in messages of another type")
		}
		if len(encoded)+len(piece.GetPiece()) > schema.MaxBytes {
			return nil, schemaError(connect.CodeResourceExhausted, w, (&schema.LimitError{What: "bytes", Limit: schema.MaxBytes}).Error())
		}
		encoded = append(encoded, piece.GetPiece()...)
	}
}
