package lab_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack/lab"
)

func openDisk(t *testing.T) *lab.Disk {
	t.Helper()
	d, err := lab.OpenDisk(t.TempDir(), 8<<20)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func create(t *testing.T, d *lab.Disk, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(d.Dir, name))
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestDisk_KeepsWhatIsWrittenThroughARename(t *testing.T) {
	d := openDisk(t)
	f := create(t, d, "file")
	_, err := f.WriteString("one")
	must(t, err)
	_, err = f.WriteAt([]byte("two"), 0)
	must(t, err)
	must(t, f.Sync())
	must(t, os.Rename(f.Name(), f.Name()+".new"))
	if raw, err := os.ReadFile(f.Name() + ".new"); err != nil || string(raw) != "two" {
		t.Errorf("the file holds %q, %v", raw, err)
	}
	dir, err := os.Open(d.Dir)
	must(t, err)
	must(t, dir.Sync())
	must(t, dir.Close())
}

func TestDisk_IsSlowStuckAndBrokenUntilRepaired(t *testing.T) {
	d := openDisk(t)
	f := create(t, d, "file")
	d.Slow(50 * time.Millisecond)
	began := time.Now()
	must(t, f.Sync())
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("fsync took %v, want 50 ms at least", took)
	}

	d.Break(syscall.EIO)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync of a broken disk says %v, want EIO", err)
	}
	must(t, d.Repair())
	must(t, f.Sync())

	d.Hang()
	done := make(chan error, 1)
	go func() { done <- f.Sync() }()
	select {
	case err := <-done:
		t.Errorf("fsync of a stuck disk returned %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if d.Stuck() != 1 {
		t.Errorf("%d calls are stuck, want 1", d.Stuck())
	}
	must(t, d.Repair())
	must(t, <-done)
}

func TestDisk_IsFullUntilRepaired(t *testing.T) {
	d := openDisk(t)
	f := create(t, d, "file")
	must(t, d.Fill())
	if _, err := f.Write(make([]byte, 1<<20)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing to a full disk says %v, want ENOSPC", err)
	}
	must(t, d.Repair())
	_, err := f.Write(make([]byte, 1<<20))
	must(t, err)
}
