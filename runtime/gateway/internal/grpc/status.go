package grpc

import (
	"strconv"
	"strings"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
)

var ok = hpack.HeaderField{Name: "grpc-status", Value: "0"}

// AppendStatus appends the trailers that end a call: well where err is nil, else with its code, message and
// details. Only a *connect.Error tells its text.
func AppendStatus(trailers []hpack.HeaderField, err *connect.Error) []hpack.HeaderField {
	if err == nil {
		return append(trailers, ok)
	}
	trailers = append(trailers,
		hpack.HeaderField{Name: "grpc-status", Value: strconv.Itoa(int(err.Code()))},
		hpack.HeaderField{Name: "grpc-message", Value: Escape(err.Message())})
	if details := err.Details(); len(details) > 0 {
		trailers = append(trailers, hpack.HeaderField{
			Name: "grpc-status-details-bin", Value: connect.EncodeBinaryHeader(status(err, details)),
		})
	}
	return trailers
}

// Fields of google.rpc.Status and google.protobuf.Any.
const (
	statusCode    = 1
	statusMessage = 2
	statusDetails = 3
	anyType       = 1
	anyValue      = 2
)

// typeURL returns the type of a detail, which may be one already, as an Any has it.
func typeURL(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return "type.googleapis.com/" + name
}

// status returns err as a google.rpc.Status.
func status(err *connect.Error, details []*connect.ErrorDetail) []byte {
	b := protowire.AppendTag(nil, statusCode, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(err.Code()))
	b = protowire.AppendTag(b, statusMessage, protowire.BytesType)
	b = protowire.AppendString(b, err.Message())
	for _, d := range details {
		a := protowire.AppendTag(nil, anyType, protowire.BytesType)
		a = protowire.AppendString(a, typeURL(d.Type))
		a = protowire.AppendTag(a, anyValue, protowire.BytesType)
		a = protowire.AppendBytes(a, d.Value)
		b = protowire.AppendTag(b, statusDetails, protowire.BytesType)
		b = protowire.AppendBytes(b, a)
	}
	return b
}

// Escape returns a message as grpc-message has it: what is not printable ASCII, and %, as %XX.
func Escape(message string) string {
	plain := func(c byte) bool { return ' ' <= c && c <= '~' && c != '%' }
	i := 0
	for i < len(message) && plain(message[i]) {
		i++
	}
	if i == len(message) {
		return message
	}
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	out.WriteString(message[:i])
	for ; i < len(message); i++ {
		if c := message[i]; plain(c) {
			out.WriteByte(c)
		} else {
			out.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return out.String()
}
