package h2core

// Inflow is a flow-control window for DATA that this end receives (RFC 9113 section 6.9), of a stream or of the
// connection. What has been taken from it and consumed is given back in WINDOW_UPDATEs of half the window at least.
type Inflow struct {
	size     int // that of the window while nothing is under way
	avail    int // how much the peer may still send
	consumed int // what has been consumed since the last WINDOW_UPDATE
}

// NewInflow returns a window of size bytes, [MaxWindow] at most.
func NewInflow(size int) Inflow { return Inflow{size: size, avail: size} }

// NewUnackedInflow returns the window of a stream of whose size the peer has been told by SETTINGS that it has not
// acknowledged: it may still send by the initial window.
func NewUnackedInflow(size int) Inflow { return Inflow{size: size, avail: max(size, InitialWindow)} }

// Acked notes that the peer has acknowledged the SETTINGS that told it of the window of a stream that was open by
// then.
func (f *Inflow) Acked() { f.avail -= max(0, InitialWindow-f.size) }

// Available returns how many bytes the peer may still send. After Acked it may be less than 0.
func (f *Inflow) Available() int { return f.avail }

// Take takes the n bytes of a DATA frame's payload, padding and all, from the window. It reports false, and takes
// nothing, if the window does not have them.
func (f *Inflow) Take(n int) bool {
	if n > f.avail {
		return false
	}
	f.avail -= n
	return true
}

// Consume counts n bytes that were taken as consumed, and returns the increment of the WINDOW_UPDATE to send, 0 if it
// is not time for one.
func (f *Inflow) Consume(n int) (increment int) {
	f.consumed += n
	if f.consumed == 0 || f.consumed < f.size-f.size/2 {
		return 0
	}
	increment = f.consumed
	f.avail += increment
	f.consumed = 0
	return increment
}

// Grow makes the window larger, and returns the increment of the WINDOW_UPDATE to send, 0 if it is as large already.
func (f *Inflow) Grow(size int) (increment int) {
	increment = max(0, size-f.size)
	f.size += increment
	f.avail += increment
	return increment
}

// Outflow is a flow-control window for DATA that this end sends, of a stream or of the connection.
type Outflow struct {
	avail int64 // may be negative: RFC 9113 section 6.9.2
}

// NewOutflow returns a window of size bytes.
func NewOutflow(size int64) Outflow { return Outflow{avail: size} }

// Available returns how many bytes may be sent; less than 1: none.
func (f *Outflow) Available() int64 { return f.avail }

// Add changes the window by a WINDOW_UPDATE's increment, by what SETTINGS_INITIAL_WINDOW_SIZE has changed by, or by
// what was taken and not sent. It reports false if the window is larger than [MaxWindow] then, which is a
// FLOW_CONTROL_ERROR of the peer's.
func (f *Outflow) Add(n int64) bool {
	f.avail += n
	return f.avail <= MaxWindow
}

// TakeOutflow takes up to n bytes from a stream's and the connection's window, as many as both have, and returns how
// many.
func TakeOutflow(n int, stream, conn *Outflow) int {
	n = int(max(0, min(int64(n), stream.avail, conn.avail)))
	stream.avail -= int64(n)
	conn.avail -= int64(n)
	return n
}
