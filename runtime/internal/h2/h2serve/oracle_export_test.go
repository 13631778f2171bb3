package h2serve

// The limits, for tests from outside.
const (
	MaxIdleFrames = maxIdleFrames
	MaxResets     = maxResets
	MaxFrame      = maxFrame
	MaxWindow     = maxWindow
)
