package grpc

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// PrefixSize is the length in bytes of what stands before each message.
const PrefixSize = 5

// Prefix returns what stands before a message of n bytes that is not compressed.
func Prefix(n int) (p [PrefixSize]byte) {
	binary.BigEndian.PutUint32(p[1:], uint32(n))
	return p
}

// Length returns how long a body is that begins so and is one message which is not compressed, 0 where that cannot be
// told.
func Length(begin []byte) int {
	if len(begin) < PrefixSize || begin[0] != 0 {
		return 0
	}
	return int(min(PrefixSize+uint64(binary.BigEndian.Uint32(begin[1:])), math.MaxInt32))
}

// Message returns the message of a body that is one message which is not compressed, and false for any
// other body.
func Message(body []byte) ([]byte, bool) {
	if len(body) < PrefixSize || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-PrefixSize) {
		return nil, false
	}
	return body[PrefixSize:], true
}

// IsProto reports whether a content type is that of gRPC with messages of protobuf.
func IsProto(contentType string) bool {
	return contentType == "application/grpc+proto" || contentType == "application/grpc"
}

// maxDigits is how many digits a timeout may have.
const maxDigits = 8

// Timeout returns the value of the header grpc-timeout. It reports false for one that is malformed, or so
// long that it does not fit.
func Timeout(value string) (time.Duration, bool) {
	if len(value) < 2 || len(value) > maxDigits+1 {
		return 0, false
	}
	digits, unit := value[:len(value)-1], units[value[len(value)-1]]
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || unit == 0 || digits[0] == '+' || int64(n) > int64(maxTimeout/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true // short: no longer than maxTimeout
}

const maxTimeout = time.Duration(1<<63 - 1)

var units = [256]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second,
	'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}
