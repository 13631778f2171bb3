package rpcmesh

import (
	"errors"
	"maps"
	"slices"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// ErrorDomain is the domain of the mesh's own google.rpc.ErrorInfo.
const ErrorDomain = "rpcmesh"

// Reason says in a word why the mesh did not bring a call to its function. There may be more of them in later
// releases.
type Reason string

// The reasons, each with the code that comes with it. But for the first two the condition may pass: whoever
// waits, or calls with [WaitForReady], may be served. A call that waited for that until its time was up has the
// reason, and the code deadline_exceeded.
const (
	// ReasonFunctionUnknown, unimplemented: no node within reach has the function or lately had it. Metadata:
	// namespace, procedure; near, functions there that are spelled alike, and elsewhere, namespaces of the
	// calling node that have it: each a list with commas.
	ReasonFunctionUnknown Reason = "FUNCTION_UNKNOWN"
	// ReasonKindMismatch, unimplemented: the function takes or gives another number of messages. Metadata:
	// namespace, procedure, origin.
	ReasonKindMismatch Reason = "KIND_MISMATCH"
	// ReasonFunctionGone, unavailable: the function was there and went. Metadata: namespace, procedure; origin
	// and origin_id, the node that had it last; gone, when it went by the clock of the node that says so (RFC
	// 3339); cause.
	ReasonFunctionGone Reason = "FUNCTION_GONE"
	// ReasonLinkDown, unavailable: nothing is known of the function, and a link of the calling node that carries
	// the namespace is not up. Metadata: namespace, procedure; links, what is the matter with each.
	ReasonLinkDown Reason = "LINK_DOWN"
	// ReasonRouteLost, unavailable: a link on the way went while the call was on it, before it had started.
	// Metadata: node, the one that lost it.
	ReasonRouteLost Reason = "ROUTE_LOST"
	// ReasonNodeLeaving, unavailable: the node that makes the call or one on its way is shutting down, or closed.
	// Metadata: node.
	ReasonNodeLeaving Reason = "NODE_LEAVING"
	// ReasonNotCarried, permission_denied: a link on the way does not carry calls into the namespace. Metadata:
	// namespace, node.
	ReasonNotCarried Reason = "NAMESPACE_NOT_CARRIED"
)

// ErrorInfo says why the mesh did not bring a call to its function: the google.rpc.ErrorInfo of the domain
// [ErrorDomain] among an error's details.
type ErrorInfo struct {
	Reason Reason
	// Metadata says what the reason is about; which keys there are stands with each.
	Metadata map[string]string
}

const errorInfoType = "google.rpc.ErrorInfo"

// The fields of google.rpc.ErrorInfo, whose Go package would be a dependency for them alone.
const (
	infoReason protowire.Number = iota + 1
	infoDomain
	infoMetadata
)

// ErrorInfoOf returns what the mesh says of an error that it ended a call with, and false for other errors.
func ErrorInfoOf(err error) (ErrorInfo, bool) {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return ErrorInfo{}, false
	}
	for _, d := range e.Details() {
		if d.Type != errorInfoType {
			continue
		}
		if info, ok := parseInfo(d.Value); ok {
			return info, true
		}
	}
	return ErrorInfo{}, false
}

// with attaches the info to an error of a call.
func (i ErrorInfo) with(e *connect.Error) *connect.Error {
	return e.WithDetail(&connect.ErrorDetail{Type: errorInfoType, Value: i.encode()})
}

func (i ErrorInfo) encode() []byte {
	b := appendString(nil, infoReason, string(i.Reason))
	b = appendString(b, infoDomain, ErrorDomain)
	for _, key := range slices.Sorted(maps.Keys(i.Metadata)) {
		entry := appendString(appendString(nil, 1, key), 2, i.Metadata[key])
		b = appendString(b, infoMetadata, string(entry))
	}
	return b
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

// parseInfo returns false for what is malformed or of another domain.
func parseInfo(b []byte) (info ErrorInfo, ok bool) {
	info.Metadata = map[string]string{}
	domain := ""
	ok = eachField(b, func(num protowire.Number, value []byte) {
		switch num {
		case infoReason:
			info.Reason = Reason(value)
		case infoDomain:
			domain = string(value)
		case infoMetadata:
			var key, text string
			eachField(value, func(num protowire.Number, value []byte) {
				switch num {
				case 1:
					key = string(value)
				case 2:
					text = string(value)
				}
			})
			info.Metadata[key] = text
		}
	})
	return info, ok && domain == ErrorDomain
}

// eachField calls f with the fields of a message that have a length, and returns false if it is malformed.
func eachField(b []byte, f func(num protowire.Number, value []byte)) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return false
		}
		if typ == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b[n:])
			f(num, value)
		}
		b = b[n+size:]
	}
	return true
}
