// Package blob keeps artifacts as files named by their SHA-256 digest.
//
// It does not know what a blob is for: callers say which ones to keep. A blob is either absent or whole: Put writes
// beside it, compares the digest, syncs file and directory, and only then gives it its name, so a crash, a full disk
// or a lying sender leaves nothing behind under a digest. Blobs never change, so they are read without a lock.
package blob

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// temp holds blobs under way.
const temp = "incoming"

// Store is a directory of blobs. Its methods may be called at once from many goroutines.
type Store struct {
	root  *os.Root
	limit int64
	space space
}

// Options says where blobs are and how big one may be.
type Options struct {
	Dir      string // made if it is not there
	MaxBytes int64  // of one blob; 0 means 2 GiB
	MinFree  int64  // bytes that blobs leave free on the disk; 0 means 5 % of it and at least 2 GiB, less than 0 none
}

// Info describes a stored blob.
type Info struct {
	Digest   string // SHA-256, hex
	Bytes    int64
	StoredAt time.Time
}

// Open opens the store and removes what an earlier process left half written.
func Open(o Options) (*Store, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if err := errors.Join(root.RemoveAll(temp), root.Mkdir(temp, 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("open blob store: %w", err), root.Close())
	}
	s := &Store{root: root, limit: o.MaxBytes, space: space{dir: o.Dir, least: o.MinFree}}
	if s.limit <= 0 {
		s.limit = 2 << 30
	}
	return s, nil
}

// Close lets go of the directory. Readers that are open stay usable.
func (s *Store) Close() error { return s.root.Close() }

// Put stores the size bytes of r, which must have the digest. A blob that is there already is not read from r; it counts as
// stored now.
func (s *Store) Put(ctx context.Context, digest string, size int64, r io.Reader) error {
	name, err := nameOf(digest)
	if err != nil {
		return err
	}
	if size < 0 || size > s.limit {
		return fault.Exhausted("artifact of %d bytes is larger than the limit of %d bytes", size, s.limit).
			WithFix("make it smaller, or raise the server's artifact limit")
	}
	// Collect must not take it away before the state names it again.
	now := time.Now()
	if err := s.root.Chtimes(name, now, now); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return explain(err, digest)
	}
	release, err := s.space.reserve(size)
	if err != nil {
		return err
	}
	defer release()
	part := path.Join(temp, digest+"-"+rand.Text())
	if err := s.receive(ctx, part, digest, size, r); err != nil {
		return errors.Join(explain(err, digest), ignoreAbsent(s.root.Remove(part)))
	}
	if err := s.publish(part, name); err != nil {
		return errors.Join(explain(err, digest), ignoreAbsent(s.root.Remove(part)))
	}
	return nil
}

// receive writes r to part and checks it.
func (s *Store) receive(ctx context.Context, part, digest string, size int64, r io.Reader) (err error) {
	f, err := s.root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(withContext{ctx, r}, size+1))
	if err != nil {
		return err
	}
	if n != size {
		return fault.Invalid("size", "got %d bytes of a blob announced with %d", n, size)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fault.Invalid("digest", "the bytes have digest %s, not %s", got, digest)
	}
	return f.Sync()
}

// publish gives a whole blob its name, durably.
func (s *Store) publish(part, name string) error {
	dir := path.Dir(name)
	if err := s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.root.Rename(part, name); err != nil {
		return err
	}
	return errors.Join(s.syncDir(dir), s.syncDir("."))
}

func (s *Store) syncDir(name string) error {
	d, err := s.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get opens a blob at offset. The caller closes it. A blob deleted meanwhile stays readable to its end.
func (s *Store) Get(digest string, offset int64) (io.ReadCloser, error) {
	name, err := nameOf(digest)
	if err != nil {
		return nil, err
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, explain(err, digest)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(fault.Invalid("offset", "%d is not in the blob", offset).WithCause(err), f.Close())
	}
	return f, nil
}

// Stat describes a blob; fault.KindNotFound if it is not there.
func (s *Store) Stat(digest string) (Info, error) {
	name, err := nameOf(digest)
	if err != nil {
		return Info{}, err
	}
	fi, err := s.root.Stat(name)
	if err != nil {
		return Info{}, explain(err, digest)
	}
	return Info{Digest: digest, Bytes: fi.Size(), StoredAt: fi.ModTime()}, nil
}

// Delete removes a blob; one that is not there is fine.
func (s *Store) Delete(digest string) error {
	name, err := nameOf(digest)
	if err != nil {
		return err
	}
	return ignoreAbsent(s.root.Remove(name))
}

// Collect deletes the blobs that keep does not claim and that were stored before the given time: an upload that is
// younger may not be in the state yet. It returns what it deleted.
func (s *Store) Collect(ctx context.Context, before time.Time, keep func(digest string) bool) ([]Info, error) {
	var gone []Info
	err := fs.WalkDir(s.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if d.IsDir() && p == temp {
			return fs.SkipDir
		}
		digest := path.Base(p)
		if d.IsDir() || !IsDigest(digest) || keep(digest) {
			return nil
		}
		info, err := s.Stat(digest)
		if err != nil || info.StoredAt.After(before) {
			return err
		}
		gone = append(gone, info)
		return s.Delete(digest)
	})
	if err != nil {
		return gone, fmt.Errorf("collect blobs: %w", err)
	}
	return gone, nil
}

// IsDigest reports whether s is a SHA-256 in lower-case hex.
func IsDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// nameOf spreads blobs over 256 directories.
func nameOf(digest string) (string, error) {
	if !IsDigest(digest) {
		return "", fault.Invalid("digest", "must be a SHA-256 in lower-case hex")
	}
	return digest[:2] + "/" + digest, nil
}

func explain(err error, digest string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.NotFound("artifact %s is not on this server", digest).WithCause(err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fault.Exhausted("the server's disk is full, artifact %s was not stored", digest).
			WithFix("free space in the server's data directory").WithRetryAfter(30 * time.Second).WithCause(err)
	}
	return fmt.Errorf("blob %s: %w", digest, err)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// withContext ends reading when ctx does.
type withContext struct {
	ctx context.Context //nolint:containedctx // lives as long as one Put
	r   io.Reader
}

func (w withContext) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.r.Read(p)
}
