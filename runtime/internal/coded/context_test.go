package coded

import (
	"context"
	"fmt"
	"testing"

	"connectrpc.com/connect/v2"
)

func TestOfContext(t *testing.T) {
	for want, err := range map[connect.Code]error{
		connect.CodeDeadlineExceeded: fmt.Errorf("so: %w", context.DeadlineExceeded), connect.CodeCanceled: context.Canceled,
	} {
		if got := OfContext(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
