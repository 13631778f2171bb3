// Package netio reads and writes connections for endpoints whose goroutines must not wait where they can help
// it. It knows no protocol.
//
//   - A [Socket] is a socket of the system that can be written to without waiting, by system calls that do not tell Go's
//     scheduler. One goroutine reads and one writes it.
//   - An [Input] is the buffer that a connection is read by. Reading can go on after a deadline: what has come stays.
//     It begins with 4 KiB and doubles when a read fills it, up to [MaxBuffer]; only what is waited for at once makes
//     it longer. It belongs to one goroutine.
//   - A [WriteDeadline] keeps a connection's write deadline ahead, since each setting costs.
//
// It bounds nothing that a peer sends: who waits for a length that a peer has sent checks it first.
package netio
