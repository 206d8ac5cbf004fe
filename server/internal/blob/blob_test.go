package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/blob"
)

func open(t *testing.T, dir string) *blob.Store {
	t.Helper()
	s, err := blob.Open(blob.Options{Dir: dir, MaxBytes: 1 << 20, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func digestOf(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:])
}

func put(t *testing.T, s *blob.Store, data string) string {
	t.Helper()
	d := digestOf(data)
	if err := s.Put(t.Context(), d, int64(len(data)), strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return d
}

func files(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPut_GivesBackTheSameBytesFromAnyOffset(t *testing.T) {
	s := open(t, t.TempDir())
	d := put(t, s, "hello, world")
	for offset, want := range map[int64]string{0: "hello, world", 7: "world", 12: ""} {
		r, err := s.Get(d, offset)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != want {
			t.Errorf("from %d: %q, %v", offset, got, err)
		}
		_ = r.Close()
	}
}

func TestPut_LeavesNothingBehindWhenItIsRefused(t *testing.T) {
	d := digestOf("hello")
	for name, c := range map[string]struct {
		digest string
		size   int64
		r      io.Reader
		kind   fault.Kind
	}{
		"other bytes": {d, 5, strings.NewReader("hallo"), fault.KindInvalid},
		"too few":     {d, 5, strings.NewReader("hell"), fault.KindInvalid},
		"too many":    {d, 5, strings.NewReader("hello!"), fault.KindInvalid},
		"too large":   {d, 2 << 20, strings.NewReader("hello"), fault.KindExhausted},
		"no digest":   {"../../etc/passwd", 5, strings.NewReader("hello"), fault.KindInvalid},
		"broken pipe": {d, 5, iotest.ErrReader(errors.New("reset")), fault.KindInternal},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			err := s.Put(t.Context(), c.digest, c.size, c.r)
			if err == nil || fault.KindOf(err) != c.kind {
				t.Fatalf("err = %v, want kind %s", err, c.kind)
			}
			if _, err := s.Stat(d); !errors.Is(err, fault.KindNotFound) {
				t.Fatalf("the blob is there: %v", err)
			}
			if n := files(t, dir); n != 0 {
				t.Fatalf("%d files left", n)
			}
		})
	}
}

// A full disk is a tmpfs of 256 KiB.
func TestPut_SaysThatTheDiskIsFullAndRecovers(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount a small file system (this test needs root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	s := open(t, dir)
	big := strings.Repeat("x", 512<<10)
	err := s.Put(t.Context(), digestOf(big), int64(len(big)), strings.NewReader(big))
	if !errors.Is(err, fault.KindExhausted) || !strings.Contains(err.Error(), "disk is full") {
		t.Fatalf("err = %v", err)
	}
	if n := files(t, dir); n != 0 {
		t.Fatalf("%d files left", n)
	}
	put(t, s, "small")
}

func TestPut_StopsWithItsContext(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, digestOf("hello"), 5, strings.NewReader("hello")); !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v", err)
	}
}

func TestPut_DoesNotReadABlobItHas(t *testing.T) {
	s := open(t, t.TempDir())
	d := put(t, s, "hello")
	if err := s.Put(t.Context(), d, 5, iotest.ErrReader(errors.New("read"))); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_RemovesWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	d := put(t, open(t, dir), "hello")
	if err := os.WriteFile(filepath.Join(dir, "incoming", "half"), bytes.Repeat([]byte("x"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if n := files(t, dir); n != 1 {
		t.Fatalf("%d files, want the one blob", n)
	}
	if info, err := s.Stat(d); err != nil || info.Bytes != 5 {
		t.Fatalf("stat = %+v, %v", info, err)
	}
}

func TestCollect_LeavesAnOldBlobThatWasStoredAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	digest, old := put(t, s, "again"), time.Now().Add(-48*time.Hour)
	if err := os.Chtimes(filepath.Join(dir, digest[:2], digest), old, old); err != nil {
		t.Fatal(err)
	}
	put(t, s, "again") // a build that came to the same, and is not in the state yet
	got, err := s.Collect(t.Context(), time.Now().Add(-time.Hour), func(string) bool { return false })
	if err != nil || len(got) != 0 {
		t.Fatalf("collected %v, %v", got, err)
	}
}

func TestCollect_DeletesOnlyWhatIsOldAndUnclaimed(t *testing.T) {
	s := open(t, t.TempDir())
	kept, gone := put(t, s, "kept"), put(t, s, "gone")
	keep := func(d string) bool { return d == kept }
	if got, err := s.Collect(t.Context(), time.Now().Add(-time.Hour), keep); err != nil || len(got) != 0 {
		t.Fatalf("collected young blobs: %v, %v", got, err)
	}
	got, err := s.Collect(t.Context(), time.Now().Add(time.Hour), keep)
	if err != nil || len(got) != 1 || got[0].Digest != gone || got[0].Bytes != 4 {
		t.Fatalf("collected %v, %v", got, err)
	}
	if _, err := s.Stat(kept); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(gone); !errors.Is(err, fault.KindNotFound) {
		t.Fatalf("err = %v", err)
	}
}
