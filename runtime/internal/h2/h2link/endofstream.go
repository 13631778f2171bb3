package h2link

import (
	"encoding/base64"
	"encoding/json"
	"errors"

	"connectrpc.com/connect/v2"
)

// endStreamMessage is the message that ends a response:
// https://connectrpc.com/docs/protocol#error-end-stream
type endStreamMessage struct {
	Error *wireError `json:"error,omitempty"`
}

type wireError struct {
	Code    string       `json:"code"`
	Message string       `json:"message,omitempty"`
	Details []wireDetail `json:"details,omitempty"`
}

type wireDetail struct {
	Type  string          `json:"type"`
	Value string          `json:"value"` // base64, padded or not
	Debug json.RawMessage `json:"debug,omitempty"`
}

// maxDetails bounds what a peer can make of one message.
const maxDetails = 64

// encodeEndStream returns the packet that ends the response with err. Of other errors than a *connect.Error it has neither code nor text.
func encodeEndStream(err error) []byte {
	var m endStreamMessage
	if err != nil {
		m.Error = &wireError{Code: connect.CodeUnknown.String()}
		if ce, ok := errors.AsType[*connect.Error](err); ok {
			m.Error = newWireError(ce)
		}
	}
	body, _ := json.Marshal(m) // nothing in it cannot be marshalled
	p := append(make([]byte, HeadRoom), body...)
	_ = putPrefix(p, flagEndStream)
	return p
}

func newWireError(ce *connect.Error) *wireError {
	we := &wireError{Code: ce.Code().String(), Message: ce.Message()}
	for _, d := range ce.Details() {
		wd := wireDetail{Type: d.Type, Value: base64.RawStdEncoding.EncodeToString(d.Value)}
		if json.Valid(d.Debug) {
			wd.Debug = d.Debug
		}
		we.Details = append(we.Details, wd)
	}
	return we
}

// parseEndStream returns the error that ended the response, nil if it ended in order.
func parseEndStream(body []byte) error {
	var m endStreamMessage
	if err := json.Unmarshal(body, &m); err != nil {
		return connect.NewError(connect.CodeInternal, "the server sent a malformed end-of-stream message").WithCause(err)
	}
	if m.Error == nil {
		return nil
	}
	var code connect.Code
	if code.UnmarshalText([]byte(m.Error.Code)) != nil || code < connect.CodeCanceled || code > connect.CodeUnauthenticated {
		code = connect.CodeUnknown
	}
	ce := connect.NewError(code, m.Error.Message).WithRemote()
	for _, wd := range m.Error.Details[:min(len(m.Error.Details), maxDetails)] {
		value, err := connect.DecodeBinaryHeader(wd.Value)
		if err != nil {
			return connect.NewError(connect.CodeInternal, "the server sent a malformed detail of an error").WithCause(err)
		}
		ce = ce.WithDetail(&connect.ErrorDetail{Type: wd.Type, Value: value, Debug: wd.Debug})
	}
	return ce
}
