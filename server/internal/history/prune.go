package history

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Prune closes and compresses logs that rest, and deletes the oldest beyond age and total size. It is called from
// time to time.
func (s *Store) Prune(ctx context.Context) error {
	if err := s.Rest(ctx); err != nil {
		return err
	}
	now := s.o.Now()
	return errors.Join(s.compressStrays(now), s.retain(now))
}

// Rest closes and compresses the logs that nobody has used for a while, so that they hold no files open. It is cheap
// where there are none.
func (s *Store) Rest(ctx context.Context) error {
	var errs []error
	for _, l := range s.resting(s.o.Now()) {
		if ctx.Err() != nil {
			break
		}
		errs = append(errs, s.rest(l))
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// resting are the logs nobody has used for a while.
func (s *Store) resting(now time.Time) []*log {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*log
	for _, l := range s.logs {
		l.mu.Lock()
		if l.readers == 0 && now.Sub(l.touched) >= s.o.Idle {
			out = append(out, l)
		}
		l.mu.Unlock()
	}
	return out
}

// rest closes and compresses a log and forgets it, all under the store's lock so that nobody opens a second one
// meanwhile.
func (s *Store) rest(l *log) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.busy(s.o) || s.closed || s.logs[l.id] != l {
		return nil
	}
	delete(s.logs, l.id)
	return errors.Join(l.close(), s.compress(l.id))
}

func (l *log) busy(o Options) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.readers > 0 || o.Now().Sub(l.touched) < o.Idle
}

// compressStrays compresses logs that an earlier process left plain.
func (s *Store) compressStrays(now time.Time) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasSuffix(f.path, ".log") && now.Sub(f.at) >= s.o.Idle {
			err = errors.Join(err, s.compressIdle(f))
		}
	}
	return err
}

func (s *Store) compressIdle(f file) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, live := s.logs[f.id()]; live || s.closed {
		return nil
	}
	return s.compress(f.id())
}

// compress replaces a plain log by its compressed form, of the same age; both are whole at any time.
func (s *Store) compress(id string) (err error) {
	plain := path(id)
	in, err := s.root.Open(plain)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	if err := s.replace(plain+".zst", func(w io.Writer) error { return deflate(w, in) }); err != nil {
		return fmt.Errorf("compress %s: %w", plain, err)
	}
	return errors.Join(s.root.Chtimes(plain+".zst", fi.ModTime(), fi.ModTime()), s.root.Remove(plain))
}

// deflate writes the compressed form of the frames of in, and their index.
func deflate(w io.Writer, in io.Reader) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	x := newIndex()
	rest := io.TeeReader(in, z)
	_, err = x.scan(bufio.NewReaderSize(rest, 256<<10))
	if err == nil {
		_, err = io.Copy(io.Discard, rest)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return err
	}
	return x.append(w)
}

func (s *Store) replace(name string, write func(io.Writer) error) error {
	return replace(s.root, name, write)
}

// replace writes a file beside its name, syncs it and renames it over.
func replace(root *os.Root, name string, write func(io.Writer) error) error {
	part := name + ".part"
	f, err := root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, root.Remove(part))
	}
	return root.Rename(part, name)
}

// inflate brings a compressed log back to its plain form, for a task that is tried again.
func (l *log) inflate() error {
	if _, err := l.root.Stat(path(l.id)); err == nil {
		return nil // plain is newer: a crash came between writing one and removing the other
	}
	z, err := l.openCompressed(0)
	if err != nil || z == nil {
		return err
	}
	defer func() { _ = z.Close() }()
	if err := replace(l.root, path(l.id), func(w io.Writer) error {
		_, err := io.Copy(w, z)
		return err
	}); err != nil {
		return err
	}
	return l.root.Remove(path(l.id) + ".zst")
}

// file is a log on disk.
type file struct {
	path  string
	bytes int64
	at    time.Time
}

func (f file) id() string {
	id, _, _ := strings.Cut(filepath.Base(f.path), ".")
	return id
}

func (s *Store) files() ([]file, error) {
	var out []file
	err := fs.WalkDir(s.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			out = append(out, file{p, fi.Size(), fi.ModTime()})
		}
		return err
	})
	return out, err
}

// retain deletes the oldest logs until the rest fits. A log in use stays.
func (s *Store) retain(now time.Time) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(b.at.UnixNano(), a.at.UnixNano()) })
	var total int64
	for _, f := range files {
		total += f.bytes
		if total > s.o.TotalBytes {
			s.seen(f.at)
		}
		if total > s.o.TotalBytes || now.Sub(f.at) > s.o.MaxAge {
			err = errors.Join(err, s.drop(f))
		}
	}
	return err
}

// seen notes that a log of that age had no room.
func (s *Store) seen(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.horizon) {
		s.horizon = at
	}
}

// Keeps reports whether a log whose last line is from then would stay: it is neither too old, nor as old as one that
// was deleted for want of room.
func (s *Store) Keeps(then time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return then.After(s.horizon) && s.o.Now().Sub(then) <= s.o.MaxAge
}

func (s *Store) drop(f file) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, live := s.logs[f.id()]; live || s.closed {
		return nil
	}
	return s.root.Remove(f.path)
}
