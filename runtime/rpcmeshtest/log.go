package rpcmeshtest

import (
	"bytes"
	"log/slog"
	"testing"
	"time"
)

// logger returns a logger to the test's log.
func logger(tb testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testLog{tb}, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.String("at", a.Value.Time().Format(time.StampMilli))
			}
			return a
		},
	}))
}

type testLog struct{ tb testing.TB }

func (l testLog) Write(line []byte) (int, error) {
	l.tb.Log(string(bytes.TrimSuffix(line, []byte("\n"))))
	return len(line), nil
}
