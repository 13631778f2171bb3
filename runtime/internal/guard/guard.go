// Package guard calls users' functions. One that panics has failed, as if by an error; the process, its other
// calls and its links go on. What it panicked with and where is for the log alone, and for no peer or caller.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
)

// PanicError is the error of a function that panicked. Its text says no more than that.
type PanicError struct {
	// What is the function, as the user knows it: "Config.Dial", say.
	What string
	// Value is what it panicked with, and Stack where.
	Value, Stack string
}

// Error implements error.
func (p *PanicError) Error() string { return p.What + " panicked" }

// Try calls f and returns its error, or a *PanicError.
func Try(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{What: what, Value: fmt.Sprint(r), Stack: string(debug.Stack())}
		}
	}()
	return f()
}

// Call is Try, and logs a panic.
func Call(log *slog.Logger, what string, f func() error) error {
	err := Try(what, f)
	Log(log, err)
	return err
}

// Log logs err if it is a *PanicError.
func Log(log *slog.Logger, err error) {
	if p, ok := errors.AsType[*PanicError](err); ok {
		log.Error(p.Error(), "panic", p.Value, "stack", p.Stack)
	}
}

// DialFunc makes connections.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// Dial returns dial as one that fails where it would panic, or returns no connection and no error. nil stays nil.
func Dial(log *slog.Logger, what string, dial DialFunc) DialFunc {
	if dial == nil {
		return nil
	}
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = Call(log, what, func() (err error) {
			conn, err = dial(ctx, network, addr)
			return err
		})
		if err == nil && conn == nil {
			err = errors.New(what + " returned no connection")
		}
		return conn, err
	}
}
