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

	// stretchSalt is the same for all meshes, as both ends need it before either has sent anything that the
	// other could trust. So a table made in advance serves against every mesh whose secret can be guessed.
	stretchSalt = "rpcmesh link 2 secret"

	// maxDerivedKeys bounds how many keys a process remembers.
	maxDerivedKeys = 256
)

// keyCache derives keys from secrets, and remembers them.
type keyCache struct {
	deriving sync.Mutex // one at a time, for their memory
	mu       sync.Mutex
	keys     map[[sha256.Size]byte]*derivedKey
}

// derivedKey is the key of one secret.
type derivedKey struct {
	once sync.Once
	key  []byte
}

// derivedKeys is shared by the process, since many nodes in one process have one secret.
var derivedKeys = keyCache{keys: map[[sha256.Size]byte]*derivedKey{}} //nolint:gochecknoglobals // a cache

// StretchSecret derives the key of a secret, so that the first link does not wait for it. It takes about 0.1 s where the
// process has not done so before.
func StretchSecret(secret []byte) { derivedKeys.key(secret) }

// key returns the key of a secret, which is not to be changed.
func (s *keyCache) key(secret []byte) []byte {
	sum := sha256.Sum256(secret) // HMAC, within scrypt, ignores zeros at a key's end
	k := s.entry(sum)
	k.once.Do(func() {
		s.deriving.Lock()
		defer s.deriving.Unlock()
		// It fails only for costs that are not possible, and these are.
		k.key, _ = scrypt.Key(sum[:], []byte(stretchSalt), stretchN, stretchR, stretchP, sha256.Size)
	})
	return k.key
}

func (s *keyCache) entry(sum [sha256.Size]byte) *derivedKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[sum]
	if k != nil {
		return k
	}
	if len(s.keys) >= maxDerivedKeys {
		for old := range s.keys {
			delete(s.keys, old)
			break
		}
	}
	k = new(derivedKey)
	s.keys[sum] = k
	return k
}
