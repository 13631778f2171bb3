// Package schema is what a function takes and gives, in a form that nodes can pass to each other: the
// descriptors of the file that defines its service and of all that this imports, named by their hash.
//
// It is pure: no goroutine, lock or I/O. What a peer sent is taken by [Parse], which holds it to the
// limits below before any of it is built, resolves everything from the set itself and leaves Go's
// global registry alone. [Difference] says whether two versions of a function can stand in for one
// another.
package schema

// Words of the package's insides:
//
//	set        a file and all that it imports
//	root       the file that a set was made for
//	element    a message, or a string of a list, in a set's encoding: what memory is estimated by
//	symbol     the hash of a name that a file defines
