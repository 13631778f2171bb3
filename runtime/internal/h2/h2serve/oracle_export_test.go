package h2serve

import "github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"

// The limits, for tests from outside.
const (
	MaxIdleFrames = maxIdleFrames
	MaxResets     = maxResets
	MaxFrame      = maxFrame
	MaxWindow     = h2core.MaxWindow
)
