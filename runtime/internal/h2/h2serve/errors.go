package h2serve

import (
	"errors"
	"fmt"
	"net"
)

var (
	errConn    = fmt.Errorf("h2serve: the connection has ended: %w", net.ErrClosed)
	errIdle    = fmt.Errorf("h2serve: nothing was asked for too long: %w", net.ErrClosed)
	errDrained = fmt.Errorf("h2serve: the client was told to leave: %w", net.ErrClosed)
	errReset   = errors.New("h2serve: the client has reset the stream")
	errStream  = errors.New("h2serve: the stream has ended")
	errClosed  = errors.New("h2serve: the body was closed")
)
