package h2serve

import (
	"context"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// stream is one request and its response. The connection's lock guards it, but for what is fixed.
type stream struct {
	c  *Conn
	id uint32

	state   h2core.StreamState
	err     error // why it is closed
	outflow h2core.Outflow
	inflow  h2core.Inflow
	serving servingState
	request Request

	// Of a request that a BufferedHandler has or may get. The reader alone has length, bufferedBytes and lastReceived.
	length        h2core.BodyLength
	buffered      BufferedHandler
	bufferedBytes int   // how much memory its body takes while that is buffered
	lastReceived  int64 // what had been received when the reader last looked
	onCancel      func()
	heldResponse  *Response     // it waits until less is to be written
	pending       *pendingWrite // it waits for windows

	// Of one that the Handler has.
	headSent   bool // the response's head has been put
	cancel     context.CancelFunc
	bodyState  bodyState
	body       []byte // what has come, and is not read: from bodyRead
	bodyRead   int
	precounted int // how much of it has been counted as read already
	trailer    []hpack.HeaderField
	cond       sync.Cond // for those who read the body, or wait for a window

	readDeadline, writeDeadline deadline
	windowTimer                 *time.Timer // while the response waits for a window
}

// servingState is how far the serving of a request has come.
//
//	undecided --- Respond ------> responded
//	    '-------- the Handler --> handling ---> returned
//
// A stream may be closed in each; the context of a Handler that runs then is canceled.
type servingState uint8

const (
	undecided servingState = iota // its body is being buffered, or a BufferedHandler has it
	responded                     // by a BufferedHandler; some of the response may wait
	handling                      // the Handler has not returned
	returned                      // it has; the rest of the response may wait for windows
)

// bodyState is what the Handler may still read of a request's body.
//
//	receiving -- END_STREAM --> complete
//	    '---------- Close ---------+---> discarded
type bodyState uint8

const (
	bodyReceiving bodyState = iota
	bodyComplete            // up to its end
	bodyDiscarded           // nothing: what has come, and what comes, is dropped
)

// newStreamLocked opens a stream.
func (c *Conn) newStreamLocked(id uint32) *stream {
	st := &stream{
		c: c, id: id, outflow: h2core.NewOutflow(c.state.peer.InitialWindow), inflow: h2core.NewInflow(c.opts.StreamWindow),
		length: h2core.UnknownLength(),
	}
	st.state.Open()
	st.cond.L = &c.mu
	st.request.st = st
	c.state.streams[id] = st
	c.state.open++
	return st
}

func (st *stream) closedLocked() bool { return st.state == h2core.StreamClosed }

// closeStreamLocked closes a stream with err, and returns what is to be called for that without the lock.
func (c *Conn) closeStreamLocked(st *stream, err error) func() {
	st.err = err
	canceled := st.onCancel
	cancel := st.cancel
	st.onCancel, st.heldResponse = nil, nil
	c.dropPendingLocked(st)
	c.removeStreamLocked(st)
	return func() {
		if canceled != nil {
			canceled()
		}
		if cancel != nil {
			cancel()
		}
	}
}

// removeStreamLocked closes a stream.
func (c *Conn) removeStreamLocked(st *stream) {
	if c.state.streams[st.id] != st {
		return
	}
	st.state.Close()
	if st.err == nil {
		st.err = errStream
	}
	delete(c.state.streams, st.id)
	if st.serving != handling {
		c.streamClosedLocked(st)
	}
	c.connConsumedLocked(len(st.body) - st.bodyRead - st.precounted)
	st.body = nil
	st.bodyRead = 0
	st.precounted = 0
	st.cond.Broadcast()
	c.cond.Broadcast()
}

// endRemoteLocked notes that the client has sent all.
func (c *Conn) endRemoteLocked(st *stream) {
	st.state.EndRemote()
	if st.bodyState == bodyReceiving {
		st.bodyState = bodyComplete
	}
}

// endLocalLocked notes that this end has sent all.
func (c *Conn) endLocalLocked(st *stream) {
	st.state.EndLocal()
	c.state.progress = true
	if st.closedLocked() {
		c.removeStreamLocked(st)
	}
}

// resetStreamLocked closes a stream by RST_STREAM, and returns what is to be called without the lock.
func (c *Conn) resetStreamLocked(st *stream, code http2.ErrCode) func() {
	c.sendResetLocked(st.id, code, st.inflow.Available())
	return c.closeStreamLocked(st, errStream)
}

// sendResetLocked resets a stream of which the client may have sent that much that has not come yet.
func (c *Conn) sendResetLocked(id uint32, code http2.ErrCode, window int) {
	c.out = h2core.AppendRSTStream(c.out, id, code)
	c.state.resets.Add(id, window)
}

// takeWindowLocked takes up to n bytes from the windows, as many as go in one frame, and returns how many.
func (c *Conn) takeWindowLocked(st *stream, n int) int {
	n = h2core.TakeOutflow(min(n, c.maxFrameLocked()), &st.outflow, &c.state.outflow)
	c.state.progress = c.state.progress || n > 0
	return n
}

// sendErrLocked returns what keeps a handler from sending.
func (st *stream) sendErrLocked() error {
	switch {
	case st.writeDeadline.expired:
		return errTimeout
	case st.closedLocked():
		return st.err
	case !st.state.CanSend():
		return errStream
	}
	return nil
}
