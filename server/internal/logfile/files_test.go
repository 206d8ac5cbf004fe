package logfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, o Options) *Files {
	t.Helper()
	f, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func lines(t *testing.T, name string) []map[string]any {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for text := range strings.Lines(string(raw)) {
		var l map[string]any
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s: %q: %v", name, text, err)
		}
		out = append(out, l)
	}
	return out
}

func TestFiles_EachLineGoesWhereItBelongs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	var beside bytes.Buffer
	f := open(t, Options{Dir: dir, Beside: slog.NewTextHandler(&beside, nil)})
	log := slog.New(f.Handler()).With("component", "test")
	log.Debug("not wanted")
	log.Info("app deployed", "app", "shop")
	log.Warn("disk nearly full", "free", 7)
	f.Access(Entry{
		At: time.Now(), Took: 1500 * time.Microsecond, Reference: "abc", Caller: "user usr_1", Tenant: "ten_1",
		Address: "192.0.2.1", Procedure: "/gestor.v1.AppService/GetApp", Code: "ok", Received: 10, Sent: 20,
	})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if app := lines(t, filepath.Join(dir, "app.log")); len(app) != 2 || app[0]["app"] != "shop" || app[0]["component"] != "test" {
		t.Errorf("app.log: %v", app)
	}
	if bad := lines(t, filepath.Join(dir, "error.log")); len(bad) != 1 || bad[0]["msg"] != "disk nearly full" {
		t.Errorf("error.log: %v", bad)
	}
	access := lines(t, filepath.Join(dir, "access.log"))
	if len(access) != 1 || access[0]["ms"] != 1.5 || access[0]["tenant"] != "ten_1" || access[0]["sent"] != 20.0 || access[0]["msg"] != nil {
		t.Errorf("access.log: %v", access)
	}
	if got := strings.Count(beside.String(), "\n"); got != 2 {
		t.Errorf("beside: %q", beside.String())
	}
	info, err := os.Stat(filepath.Join(dir, "access.log"))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read the access log: %v %v", info.Mode(), err)
	}
}

func TestFiles_GoOnUnderTheirNameAfterTheyWereMovedAway(t *testing.T) {
	dir := t.TempDir()
	f := open(t, Options{Dir: dir})
	log, name := slog.New(f.Handler()), filepath.Join(dir, "app.log")
	log.Info("one")
	await(t, func() bool { raw, _ := os.ReadFile(name); return bytes.Contains(raw, []byte("one")) })
	if err := os.Rename(name, name+".moved"); err != nil {
		t.Fatal(err)
	}
	f.Reopen()
	await(t, func() bool {
		log.Info("two")
		raw, _ := os.ReadFile(name)
		return bytes.Contains(raw, []byte("two"))
	})
}

func TestFiles_AreTurnedOverBySize(t *testing.T) {
	dir := t.TempDir()
	f := open(t, Options{Dir: dir, MaxMB: 1})
	log := slog.New(f.Handler())
	for range 40 {
		log.Info("something long", "text", strings.Repeat("x", 64<<10))
	}
	await(t, func() bool {
		plain, _ := filepath.Glob(filepath.Join(dir, "app-*.log"))
		packed, _ := filepath.Glob(filepath.Join(dir, "app-*.log.gz"))
		return len(plain) == 0 && len(packed) > 0
	})
}

// stuckDisk takes nothing until it is freed.
type stuckDisk struct{ free chan struct{} }

func (d stuckDisk) Write(p []byte) (int, error) { <-d.free; return len(p), nil }

func TestWriter_NobodyWaitsForADiskThatHangs(t *testing.T) {
	disk := stuckDisk{make(chan struct{})}
	w := newWriter(disk, func(error) {})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range queueLines + 100 {
			_, _ = w.Write([]byte("line\n"))
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("writing waits for the disk")
	}
	if dropped := w.dropped.Load(); dropped < 99 || dropped > 100 {
		t.Fatalf("%d lines were dropped, want those beyond the queue", dropped)
	}
	close(disk.free)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// fullDisk has room for so many bytes.
type fullDisk struct {
	mu   sync.Mutex
	room int
	got  bytes.Buffer
}

var errFull = errors.New("no space left on device")

func (d *fullDisk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(p), d.room)
	d.got.Write(p[:n])
	if d.room -= n; n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriter_AFullDiskDropsLinesCountsThemAndTearsNoneOfThoseAfter(t *testing.T) {
	disk := &fullDisk{room: 12}
	told := make(chan error, 10)
	w := newWriter(disk, func(err error) { told <- err })
	for _, l := range []string{`{"n":1}`, `{"n":2}`, `{"n":3}`} {
		_, _ = fmt.Fprintln(w, l)
	}
	await(t, func() bool { return w.dropped.Load() == 2 })
	disk.mu.Lock()
	disk.room = 1000
	disk.mu.Unlock()
	_, _ = fmt.Fprintln(w, `{"n":4}`)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := disk.got.String(); !strings.HasSuffix(got, "\n{\"n\":4}\n") {
		t.Fatalf("got %q", got)
	}
	if err := <-told; !errors.Is(err, errFull) || len(told) != 0 {
		t.Fatalf("told %v and %d more", err, len(told))
	}
}

func TestOpen_SaysWhatToDoAboutADirectoryItMayNotUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: filepath.Join(file, "logs")}); err == nil || !strings.Contains(err.Error(), "--log-dir") {
		t.Fatalf("got %v", err)
	}
}

func await(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatal("it never came true")
		case <-tick.C:
		}
	}
}
