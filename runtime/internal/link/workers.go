package link

// Workers are the goroutines that run handlers. They are reused, and shared by the sessions of a node.
type Workers struct{}

// NewWorkers returns an empty set; goroutines are started as they are needed.
func NewWorkers() *Workers { return &Workers{} }

// Wait ends the idle goroutines and waits for the handlers. Handlers that are started during or after
// it run all the same.
func (w *Workers) Wait() { panic("not implemented") }
