package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func put(t *testing.T, s *Store, content string) string {
	t.Helper()
	digest := digestOf(content)
	if err := s.Put(t.Context(), digest, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestOpen_ReturnsWhatWasPut(t *testing.T) {
	s, err := Open(t.TempDir(), 100)
	if err != nil {
		t.Fatal(err)
	}
	digest := put(t, s, "content")
	r, ok := s.Open(digest)
	if !ok {
		t.Fatal("the artifact is not there")
	}
	defer r.Close()
	if got, _ := io.ReadAll(r); string(got) != "content" {
		t.Fatalf("got %q", got)
	}
}

func TestOpen_FindsNothingOutsideOfTheStore(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "store"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Open("../secret"); ok {
		t.Fatal("a path was taken for a digest")
	}
}

func TestPut_RefusesContentThatIsNotTheDigest(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), digestOf("a"), strings.NewReader("b")); err == nil {
		t.Fatal("no error")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}

func TestPut_EvictsTheLeastRecentlyUsed(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, 10)
	if err != nil {
		t.Fatal(err)
	}
	old, used := put(t, s, "aaaa"), put(t, s, "bbbb")
	past := time.Now().Add(-time.Hour)
	for _, d := range []string{old, used} {
		if err := os.Chtimes(filepath.Join(dir, d), past, past); err != nil {
			t.Fatal(err)
		}
	}
	if r, ok := s.Open(used); ok {
		r.Close()
	}
	put(t, s, "cccc")
	if _, ok := s.Open(old); ok {
		t.Error("the unused artifact is still there")
	}
	if r, ok := s.Open(used); !ok {
		t.Error("the used artifact is gone")
	} else {
		r.Close()
	}
}

func TestPut_KeepsAnArtifactLargerThanTheBudget(t *testing.T) {
	s, err := Open(t.TempDir(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := s.Open(put(t, s, "larger")); !ok {
		t.Fatal("it was evicted at once")
	} else {
		r.Close()
	}
}

func TestPut_EndsWithItsContext(t *testing.T) {
	s, err := Open(t.TempDir(), 100)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	r := readerFunc(func(b []byte) (int, error) { cancel(gone); <-ctx.Done(); return len(b), nil })
	if err := s.Put(ctx, digestOf("x"), r); !errors.Is(err, gone) {
		t.Fatalf("got %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestOpen_RemovesWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, 100); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
}
