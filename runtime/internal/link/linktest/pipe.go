// Package linktest provides connections in memory, for tests of what runs over a link.
package linktest

import "github.com/rpcmesh/rpcmesh/runtime/internal/link"

// Conn is one end of a pipe.
type Conn struct{}

var _ link.Conn = (*Conn)(nil)

// Pipe returns two ends that are connected. Each direction holds up to 256 KiB before Send blocks.
func Pipe() (a, b *Conn) { panic("not implemented") }

// Send implements link.Conn.
func (c *Conn) Send(p []byte) error { panic("not implemented") }

// Receive implements link.Conn.
func (c *Conn) Receive() ([]byte, error) { panic("not implemented") }

// Close implements link.Conn.
func (c *Conn) Close(err error) { panic("not implemented") }

// Binding implements link.Conn.
func (c *Conn) Binding() ([]byte, error) { panic("not implemented") }

// Cut breaks the connection at once, at both ends, as a reset does.
func (c *Conn) Cut() { panic("not implemented") }

// Silence swallows all that either end sends from now on, as a lost path does.
func (c *Conn) Silence() { panic("not implemented") }
