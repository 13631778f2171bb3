//go:build !unix

package netio

import "net"

// Socket is for systems whose sockets have a write that does not block.
type Socket struct{}

// NewSocket returns nil.
func NewSocket(net.Conn) *Socket { return nil }

// Read does nothing.
func (*Socket) Read([]byte) (int, error) { return 0, nil }

// TryWrite does nothing.
func (*Socket) TryWrite([]byte) (int, error) { return 0, nil }

// Unread does nothing.
func (*Socket) Unread() bool { return false }

// Write does nothing.
func (*Socket) Write([]byte) (int, error) { return 0, nil }
