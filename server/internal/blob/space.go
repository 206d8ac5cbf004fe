package blob

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// defaultLeast is what blobs leave free, if that is more than a twentieth of the disk.
const defaultLeast = 2 << 30

// space keeps blobs from filling a disk that others need: the state is on it too, and a server that cannot write its
// state is down.
type space struct {
	dir   string
	least int64 // as Options.MinFree

	mu       sync.Mutex
	promised int64 // bytes of blobs under way
}

// reserve promises size bytes until release. What is under way counts in full, also what of it is written already: a
// refusal too many heals itself, a full disk does not.
func (s *space) reserve(size int64) (release func(), err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &fs); err != nil {
		return nil, fmt.Errorf("look for free space in %s: %w", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	free, least := int64(fs.Bavail)*fs.Bsize, s.floor(int64(fs.Blocks)*fs.Bsize) // disks are far below 2^63
	if s.least >= 0 && free-s.promised-size < least {
		return nil, fault.Exhausted("an artifact of %d bytes would leave less than %d bytes free on the server's disk", size, least).
			WithFix("free space in the server's data directory").WithRetryAfter(30 * time.Second)
	}
	s.promised += size
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.promised -= size
	}, nil
}

func (s *space) floor(total int64) int64 {
	if s.least != 0 {
		return s.least
	}
	return max(total/20, defaultLeast)
}
