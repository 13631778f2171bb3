package rpcmesh

import (
	"log/slog"

	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/quiet"
)

// logger is a node's log. What others can cause as often as they like goes to limited.
type logger struct {
	*slog.Logger

	limited quiet.Logger
}

func newLogger(to *slog.Logger, name string) *logger {
	l := &logger{Logger: guard.Logger(to).With("node", name)}
	l.limited.To = l.Logger
	return l
}
