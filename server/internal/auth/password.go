package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/semaphore"
)

// The cost of a hash: the second of OWASP's argon2id recommendations, 19 MiB and two passes.
const (
	argonMemoryKiB = 19 * 1024
	argonPasses    = 2
	argonLanes     = 1
	saltBytes      = 16
	hashBytes      = 32
)

// Ceilings for the parameters of stored hashes, so that a bad one cannot eat the server.
const (
	mostMemoryKiB = 256 * 1024
	mostPasses    = 16
	mostLanes     = 16
)

// Passwords hashes and checks passwords with argon2id. Only a few run at once, because each takes 19 MiB: a flood of
// sign-ins waits instead of taking the server's memory. It is safe for concurrent use.
type Passwords struct {
	slots *semaphore.Weighted
	decoy string // the hash unknown users are checked against
	runs  atomic.Uint64
}

// Runs is how often argon2id was computed: who gets refused must not be told by the work that it took.
func (p *Passwords) Runs() uint64 { return p.runs.Load() }

// NewPasswords allows so many hashes at once.
func NewPasswords(atOnce int64) *Passwords {
	p := &Passwords{slots: semaphore.NewWeighted(atOnce)}
	salt := randomBytes(saltBytes)
	p.decoy = format(argonMemoryKiB, argonPasses, argonLanes, salt, randomBytes(hashBytes))
	return p
}

// Hash returns the PHC form of a password's hash. It fails only when ctx ends.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	defer p.slots.Release(1)
	salt := randomBytes(saltBytes)
	sum := p.derive(NormalPassword(password), phcHash{memory: argonMemoryKiB, passes: argonPasses, lanes: argonLanes, salt: salt}, hashBytes)
	return format(argonMemoryKiB, argonPasses, argonLanes, salt, sum), nil
}

// Verify reports whether password has the hash phc. With an empty phc, for a user that does not exist, it does the
// same work and says no. It fails when ctx ends, or when phc is no argon2id hash.
func (p *Passwords) Verify(ctx context.Context, phc, password string) (bool, error) {
	known := phc != ""
	if !known {
		phc = p.decoy
	}
	h, err := parsePHC(phc)
	if err != nil {
		return false, err
	}
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return false, fmt.Errorf("check password: %w", err)
	}
	defer p.slots.Release(1)
	same := p.matches(h, NormalPassword(password))
	if raw := password; !same && raw != NormalPassword(raw) {
		same = p.matches(h, raw) // of a hash from before passwords were normalised
	}
	return same && known, nil
}

func (p *Passwords) matches(h phcHash, password string) bool {
	return subtle.ConstantTimeCompare(p.derive(password, h, len(h.sum)), h.sum) == 1
}

// derive computes a hash and gives its memory back at once: by itself the garbage collector would keep it, and as much
// again for the next, until the server has something else to do.
func (p *Passwords) derive(password string, h phcHash, size int) []byte {
	p.runs.Add(1)
	defer debug.FreeOSMemory()
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.lanes, uint32(size))
}

type phcHash struct {
	memory, passes uint32
	lanes          uint8
	salt, sum      []byte
}

func format(memory, passes uint32, lanes uint8, salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, memory, passes, lanes, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

var errPHC = errors.New("the stored password hash is no argon2id hash; set a new password")

func parsePHC(s string) (phcHash, error) {
	var h phcHash
	var version int
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return h, errPHC
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return h, errPHC
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.lanes); err != nil {
		return h, errPHC
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	h.sum, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || !h.sane() {
		return h, errPHC
	}
	return h, nil
}

func (h phcHash) sane() bool {
	return h.memory >= 8 && h.memory <= mostMemoryKiB && h.passes >= 1 && h.passes <= mostPasses &&
		h.lanes >= 1 && h.lanes <= mostLanes && len(h.salt) >= 8 && len(h.salt) <= 64 && len(h.sum) >= 16 && len(h.sum) <= 64
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: see crypto/rand
	return b
}
