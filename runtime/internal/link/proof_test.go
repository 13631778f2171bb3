package link

import (
	"fmt"
	"testing"
)

// TestProofParts moves the bounds between what a proof is about.
func TestProofParts(t *testing.T) {
	of := func(mine, theirs, binding, first string) string {
		h := handshake{ownHello: []byte(mine), peerHello: []byte(theirs), binding: []byte(binding), listenerProof: []byte(first), listenerFirst: true}
		return string(h.mac([]byte("secret"), dialler))
	}
	proof := of("abc", "def", "ghi", "jkl")
	if proof != of("abc", "def", "ghi", "jkl") {
		t.Error("two proofs of the same differ")
	}
	for _, other := range []string{
		of("ab", "cdef", "ghi", "jkl"), of("abcd", "ef", "ghi", "jkl"), of("abc", "defg", "hi", "jkl"), of("abc", "def", "", "jkl"),
		of("abc", "def", "ghij", "kl"), of("abc", "def", "ghi", ""),
	} {
		if other == proof {
			t.Error("proofs of different things are the same")
		}
	}
}

// TestProofKinds: no proof or signature can be taken for one of another kind.
func TestProofKinds(t *testing.T) {
	seen := map[string]string{}
	for _, listenerFirst := range []bool{false, true} {
		for _, of := range []side{dialler, listener} {
			for _, purpose := range []string{"", "'s key"} {
				h := handshake{ownHello: []byte("m"), peerHello: []byte("t"), listenerFirst: listenerFirst}
				kind, transcript := fmt.Sprint(listenerFirst, of, purpose), string(h.transcript(of, purpose))
				if other, ok := seen[transcript]; ok {
					t.Errorf("%s and %s are the same", kind, other)
				}
				seen[transcript] = kind
			}
		}
	}
}
