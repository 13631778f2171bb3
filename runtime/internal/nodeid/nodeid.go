// Package nodeid holds the id of a node, which the routing core, links and package rpcmesh share.
package nodeid

import (
	"bytes"
	"encoding/hex"
)

// ID identifies a node in its mesh. The zero ID is no node's.
type ID [16]byte

// String returns the id as 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first half of the id as 16 hexadecimal digits: distinct enough for people.
func (id ID) Short() string { return hex.EncodeToString(id[:8]) }

// Compare orders ids by their bytes, as [bytes.Compare] does.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }
