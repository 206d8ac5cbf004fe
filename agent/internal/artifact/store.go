// Package artifact keeps artifacts on the host by their SHA-256, so that a host that built one does not download it.
//
// It is a cache: everything in it can be had again, so files are not synced and the least recently used go when the
// sum of sizes passes the budget. What Open returns was checked when it was put, not again when it is read; whoever
// unpacks it compares the digest. A store's folder belongs to one Store.
package artifact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Store is a folder of artifacts. Its methods may be called concurrently.
type Store struct {
	dir    string
	budget int64

	mu sync.Mutex // guards eviction against commits
}

var isDigest = regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString

const pendingPrefix = "pending-"

// Open opens the store in dir, which it creates, and removes what a crash left half-written. The budget is in bytes.
func Open(dir string, budget int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), pendingPrefix) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return &Store{dir: dir, budget: budget}, nil
}

// Open opens an artifact and counts as use of it. The file stays readable when it is evicted meanwhile.
func (s *Store) Open(digest string) (io.ReadCloser, bool) {
	if !isDigest(digest) {
		return nil, false
	}
	path := filepath.Join(s.dir, digest)
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now)
	return f, true
}

// Put stores what r holds if it is what digest says.
func (s *Store) Put(ctx context.Context, digest string, r io.Reader) error {
	p, err := s.Create()
	if err != nil {
		return err
	}
	defer p.Discard()
	stop := context.AfterFunc(ctx, func() { _ = p.f.Close() })
	defer stop()
	if _, err := io.Copy(p, r); err != nil {
		return fmt.Errorf("store artifact: %w", cmp.Or(context.Cause(ctx), err))
	}
	return p.Commit(digest)
}

// Pending is an artifact being written. It ends with Commit or Discard.
type Pending struct {
	store *Store
	f     *os.File
	hash  hash.Hash
	done  bool
}

// Create begins an artifact whose digest is not known yet.
func (s *Store) Create() (*Pending, error) {
	f, err := os.CreateTemp(s.dir, pendingPrefix)
	if err != nil {
		return nil, fmt.Errorf("store artifact: %w", err)
	}
	return &Pending{store: s, f: f, hash: sha256.New()}, nil
}

// Write adds bytes.
func (p *Pending) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.hash.Write(b[:n])
	return n, err
}

// Commit makes the artifact available under its digest and evicts others if the store is over its budget.
func (p *Pending) Commit(digest string) error {
	if got := hex.EncodeToString(p.hash.Sum(nil)); got != digest {
		return fmt.Errorf("store artifact: its digest is %s, not %s", got, digest)
	}
	if err := p.f.Close(); err != nil {
		return fmt.Errorf("store artifact: %w", err)
	}
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if err := os.Rename(p.f.Name(), filepath.Join(p.store.dir, digest)); err != nil {
		return fmt.Errorf("store artifact: %w", err)
	}
	p.done = true
	return p.store.evict(digest)
}

// Discard drops the artifact; after Commit it does nothing.
func (p *Pending) Discard() {
	if p.done {
		return
	}
	_ = p.f.Close()
	_ = os.Remove(p.f.Name())
}

// evict removes the least recently used artifacts over the budget, never the one just stored.
func (s *Store) evict(keep string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("evict artifacts: %w", err)
	}
	var files []os.FileInfo
	var sum int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && isDigest(e.Name()) {
			files, sum = append(files, info), sum+info.Size()
		}
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if sum <= s.budget {
			return nil
		}
		if f.Name() == keep {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, f.Name())); err != nil {
			return fmt.Errorf("evict artifacts: %w", err)
		}
		sum -= f.Size()
	}
	return nil
}
