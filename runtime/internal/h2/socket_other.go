//go:build !unix

package h2

import "net"

// socket is for systems whose sockets have a write that does not block.
type socket struct{}

func newSocket(net.Conn) *socket { return nil }

func (*socket) Read([]byte) (int, error) { return 0, nil }

func (*socket) try([]byte) (int, error) { return 0, nil }

func (*socket) write([]byte) (int, error) { return 0, nil }
