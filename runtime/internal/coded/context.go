package coded

import (
	"context"
	"errors"

	"connectrpc.com/connect/v2"
)

// OfContext returns the code of what ended because its context did, by the context's error: deadline_exceeded where
// its time was up, and canceled otherwise.
func OfContext(err error) connect.Code {
	if errors.Is(err, context.DeadlineExceeded) {
		return connect.CodeDeadlineExceeded
	}
	return connect.CodeCanceled
}
