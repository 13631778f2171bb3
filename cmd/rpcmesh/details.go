package main

import (
	"encoding/json"
	"errors"
	"strings"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// detailedError is the error of a call with its details, each a line of JSON.
type detailedError struct {
	cause   error
	details []string
}

func (e *detailedError) Error() string { return e.cause.Error() + "\n" + strings.Join(e.details, "\n") }
func (e *detailedError) Unwrap() error { return e.cause }

// withDetails spells the details of an error out.
func withDetails(err error, types *rpcmesh.Types) error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || len(e.Details()) == 0 {
		return err
	}
	detailed := &detailedError{cause: err}
	for _, d := range e.Details() {
		detailed.details = append(detailed.details, spell(d, types))
	}
	return detailed
}

// spell returns a detail in JSON: its fields where its type is known, else its bytes in base64.
func spell(d *connect.ErrorDetail, types *rpcmesh.Types) string {
	name := d.Type[strings.LastIndexByte(d.Type, '/')+1:]
	detail := struct {
		Type  string `json:"type"`
		Value any    `json:"value"`
	}{name, d.Value}
	if mt, err := types.FindMessageByName(protoreflect.FullName(name)); err == nil {
		msg := mt.New().Interface()
		if (proto.UnmarshalOptions{Resolver: types}).Unmarshal(d.Value, msg) == nil {
			if b, err := (protojson.MarshalOptions{Resolver: types}).Marshal(msg); err == nil {
				detail.Value = json.RawMessage(b)
			}
		}
	}
	line, err := json.Marshal(detail)
	if err != nil {
		return name
	}
	return string(line)
}
