package bridge_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
)

// silent is a caller who never sends its request.
type silent struct {
	connect.ServerStream
	stopped chan struct{}
}

func (s silent) Receive(any) error {
	<-s.stopped
	return errors.New("read: time is up")
}

// A request that does not come ends with its call's time, or after a minute.
func TestRequestThatDoesNotCome(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{0: time.Minute, time.Second: time.Second, time.Hour: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := silent{stopped: make(chan struct{})}
			p := bridge.Pump{StopReceiving: func(context.Context) { close(s.stopped) }}
			server := connect.NewServer()
			spec := connect.Spec{Procedure: "/a.B/C", StreamType: connect.StreamTypeUnary}
			server.Register(connect.Method{Spec: spec, Handler: p.Call})
			ctx := t.Context()
			if given > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, given)
				defer cancel()
			}
			start := time.Now()
			err := server.Call(ctx, spec.Procedure, &connect.CallInfo{Spec: spec}, s)
			if connect.CodeOf(err) != connect.CodeDeadlineExceeded || strings.Contains(err.Error(), "read") || time.Since(start) != want {
				t.Errorf("given %v: got %v after %v", given, err, time.Since(start))
			}
		})
	}
}
