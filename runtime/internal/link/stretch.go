package link

import (
	"crypto/sha256"
	"sync"

	"golang.org/x/crypto/scrypt"
)

// Costs of scrypt (RFC 7914): a key takes 32 MiB and about 0.1 s on a core of 2025. Whoever guesses at a
// secret pays that for each guess, and this process once for each secret that it has.
const (
	stretchN = 1 << 15
	stretchR = 8
	stretchP = 1

	// stretchSalt is the same for all meshes, as both ends need it before either has said anything that the
	// other could believe. So a table made in advance serves against every mesh whose secret can be guessed.
	stretchSalt = "rpcmesh link 2 secret"

	// maxStretched bounds how many keys a process remembers.
	maxStretched = 256
)

// stretcher makes the keys of secrets, and remembers them.
type stretcher struct {
	working sync.Mutex // one at a time, for their memory
	mu      sync.Mutex
	keys    map[[sha256.Size]byte]*stretched
}

// stretched is the key of one secret.
type stretched struct {
	once sync.Once
	key  []byte
}

// stretches is the process's, as many nodes in one process have one secret.
var stretches = stretcher{keys: map[[sha256.Size]byte]*stretched{}} //nolint:gochecknoglobals // a cache

// Stretch makes the key of a secret, so that the first link does not wait for it. It takes about 0.1 s
// where the process has not made it before.
func Stretch(secret []byte) { stretches.key(secret) }

// key returns the key of a secret, which is not to be changed.
func (s *stretcher) key(secret []byte) []byte {
	sum := sha256.Sum256(secret) // HMAC, within scrypt, takes no notice of zeros at a key's end
	k := s.entry(sum)
	k.once.Do(func() {
		s.working.Lock()
		defer s.working.Unlock()
		// It fails for costs that cannot be only, and these can.
		k.key, _ = scrypt.Key(sum[:], []byte(stretchSalt), stretchN, stretchR, stretchP, sha256.Size)
	})
	return k.key
}

func (s *stretcher) entry(sum [sha256.Size]byte) *stretched {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[sum]
	if k != nil {
		return k
	}
	if len(s.keys) >= maxStretched {
		for old := range s.keys {
			delete(s.keys, old)
			break
		}
	}
	k = new(stretched)
	s.keys[sum] = k
	return k
}
