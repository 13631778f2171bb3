// Package coded finds the errors that have a code: connect's, and those of gRPC and of connect's first version, which
// are known by their methods, so that neither is linked for them. It also gives the end of a context its code.
package coded

import (
	"reflect"
	"strings"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Of returns the first error of err's tree, from the outside in, that has a code: a *connect.Error, or as one
// what gRPC or the first version of connect has. nil: there is none.
func Of(err error) *connect.Error {
	for err != nil {
		if e := one(err); e != nil {
			return e
		}
		switch w := err.(type) { //nolint:errorlint // it walks the tree
		case interface{ Unwrap() error }:
			err = w.Unwrap()
		case interface{ Unwrap() []error }:
			for _, err := range w.Unwrap() {
				if e := Of(err); e != nil {
					return e
				}
			}
			return nil
		default:
			return nil
		}
	}
	return nil
}

// one returns err itself as a *connect.Error, nil if it has no code.
func one(err error) *connect.Error {
	switch e := err.(type) { //nolint:errorlint // Of walks the tree
	case *connect.Error:
		return e
	case interface{ As(target any) bool }:
		var as *connect.Error
		if e.As(&as) && as != nil {
			return as
		}
	}
	if e := fromGRPC(err); e != nil {
		return e
	}
	return fromV1(err)
}

// fromGRPC returns an error of gRPC's package status: one with a method GRPCStatus, whose result has Proto, a
// google.rpc.Status. Both are called by reflection, so that gRPC is not linked for it.
func fromGRPC(err error) *connect.Error {
	status, ok := result(reflect.ValueOf(err).MethodByName("GRPCStatus"))
	if !ok || status.Kind() != reflect.Pointer || status.IsNil() {
		return nil
	}
	message, ok := result(status.MethodByName("Proto"))
	if !ok {
		return nil
	}
	p, ok := reflect.TypeAssert[proto.Message](message)
	if !ok || !p.ProtoReflect().IsValid() || p.ProtoReflect().Descriptor().FullName() != "google.rpc.Status" {
		return nil
	}
	m := p.ProtoReflect()
	field := func(name protoreflect.Name) protoreflect.Value { return m.Get(m.Descriptor().Fields().ByName(name)) }
	e := newForeign(uint64(field("code").Int()), field("message").String())
	if e == nil {
		return nil
	}
	details := field("details").List()
	for i := range details.Len() {
		d := details.Get(i).Message()
		fields := d.Descriptor().Fields()
		e = e.WithDetail(&connect.ErrorDetail{
			Type:  typeOfURL(d.Get(fields.ByName("type_url")).String()),
			Value: d.Get(fields.ByName("value")).Bytes(),
		})
	}
	return e
}

// fromV1 returns an error of connect's first version: one with methods Code, Message and Details.
func fromV1(err error) *connect.Error {
	v1, ok := err.(interface{ Message() string })
	if !ok {
		return nil
	}
	v := reflect.ValueOf(err)
	code, hasCode := result(v.MethodByName("Code"))
	details, hasDetails := result(v.MethodByName("Details"))
	if !hasCode || code.Kind() != reflect.Uint32 || !hasDetails || details.Kind() != reflect.Slice {
		return nil
	}
	e := newForeign(code.Uint(), v1.Message())
	for i := range details.Len() {
		d, ok := reflect.TypeAssert[v1Detail](details.Index(i))
		if !ok || e == nil {
			return e
		}
		e = e.WithDetail(&connect.ErrorDetail{Type: typeOfURL(d.Type()), Value: d.Bytes()})
	}
	return e
}

// v1Detail is a detail of an error of connect's first version.
type v1Detail interface {
	Type() string
	Bytes() []byte
}

// newForeign returns an error of a code, whose numbers gRPC and both versions of connect share; nil where there is no
// such code.
func newForeign(code uint64, message string) *connect.Error {
	if code < uint64(connect.CodeCanceled) || code > uint64(connect.CodeUnauthenticated) {
		return nil
	}
	return connect.NewError(connect.Code(code), message)
}

// typeOfURL returns the name of a type by its URL, or its name.
func typeOfURL(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// result calls a method that takes nothing and returns one value.
func result(method reflect.Value) (reflect.Value, bool) {
	if !method.IsValid() || method.Type().NumIn() != 0 || method.Type().NumOut() != 1 {
		return reflect.Value{}, false
	}
	return method.Call(nil)[0], true
}
