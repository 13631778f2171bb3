package link

import "context"

// Local opens a call whose caller and handler are in one process. Everything else (windows, limits,
// headers, deadline, cancellation, errors) is as over a session.
func Local(ctx context.Context, o Open, limits Limits, w *Workers, serve func(*ServerCall)) *ClientCall {
	panic("not implemented")
}
