package blob_test

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/blob"
)

// small is a store on a tmpfs of 1 MiB.
func small(t *testing.T, leave int64) (*blob.Store, string) {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a small file system (this test needs root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	s, err := blob.Open(blob.Options{Dir: dir, MinFree: leave})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, dir
}

func TestPut_LeavesSpaceForTheState(t *testing.T) {
	s, dir := small(t, 512<<10)
	put(t, s, strings.Repeat("a", 256<<10))
	more := strings.Repeat("b", 300<<10)
	err := s.Put(t.Context(), digestOf(more), int64(len(more)), strings.NewReader(more))
	if !errors.Is(err, fault.KindExhausted) || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("err = %v", err)
	}
	if n := files(t, dir); n != 1 {
		t.Fatalf("%d files, want the one blob", n)
	}
	put(t, s, strings.Repeat("a", 256<<10)) // what is there needs no space
}

func TestPut_CountsWhatIsUnderWay(t *testing.T) {
	s, _ := small(t, 256<<10)
	data := strings.Repeat("a", 500<<10)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), digestOf(data), int64(len(data)), r) }()
	if _, err := w.Write([]byte(data[:1])); err != nil { // is taken once the upload is under way
		t.Fatal(err)
	}
	second := strings.Repeat("b", 500<<10)
	err := s.Put(t.Context(), digestOf(second), int64(len(second)), strings.NewReader(second))
	if !errors.Is(err, fault.KindExhausted) {
		t.Fatalf("err = %v", err)
	}
	_ = w.CloseWithError(errors.New("reset"))
	if err := <-done; err == nil {
		t.Fatal("a broken upload was stored")
	}
	put(t, s, second)
}

func TestPut_LeavesTwoGigabytesByDefault(t *testing.T) {
	s, _ := small(t, 0)
	if err := s.Put(t.Context(), digestOf("x"), 1, strings.NewReader("x")); !errors.Is(err, fault.KindExhausted) {
		t.Fatalf("err = %v", err)
	}
}
