// Package netio reads and writes connections for endpoints whose goroutines must not wait where they can help
// it: by system calls that do not tell Go's scheduler, and with a buffer that reading can go on from after a
// deadline.
package netio
