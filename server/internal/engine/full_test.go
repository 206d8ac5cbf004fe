package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

const fullDir = "GESTOR_TEST_FULL_DIR"

// TestFullChild is the other process of the tests below: it writes until it ends.
func TestFullChild(t *testing.T) {
	dir := os.Getenv(fullDir)
	if dir == "" {
		return
	}
	e, err := engine.Open(t.Context(), engine.Options{
		Dir: dir, Version: "test", Heartbeat: 50 * time.Millisecond, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		id, err := write(t, e, i)
		if err != nil {
			_, _ = fmt.Fprintln(os.Stdout, "refused:", err)
			continue
		}
		_, _ = fmt.Fprintf(os.Stdout, "acknowledged %s\n", id)
	}
}

func write(t *testing.T, e *engine.Engine, i int) (gestor.AppID, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	app := gestor.App{ID: gestor.AppID(fmt.Sprint("app_", i)), Slug: fmt.Sprint("app-", i)}
	app.Settings.Repository = strings.Repeat("x", 100<<10)
	_, err := e.Propose(ctx, command.Command{Actor: enginetest.Actor(), Op: command.CreateApp{App: app}})
	return app.ID, err
}

// smallDisk is a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a small disk, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func grow(t *testing.T, disk string) {
	t.Helper()
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, "size=400m"); err != nil {
		t.Fatal(err)
	}
}

func TestFullDisk_EndsTheProcessWithAWordAndLosesNothing(t *testing.T) {
	disk := smallDisk(t, "90m") // a segment of the log is 64 MiB from the start: the state is what fills it
	dir := filepath.Join(disk, "data")
	child := writeUntilFull(t, dir)
	if !strings.Contains(child.errors, "the disk is full") || strings.Contains(child.errors, "goroutine") {
		t.Errorf("it ended with: %.1000s", child.errors)
	}
	grow(t, disk)
	child.hasAll(t, dir)
}

func TestFullDisk_OfTheLogEndsTheProcessWithAWordAndLosesNothing(t *testing.T) {
	disk, dir := smallDisk(t, "100m"), t.TempDir() // too little for a second segment
	if err := os.Symlink(disk, filepath.Join(dir, "raft")); err != nil {
		t.Fatal(err)
	}
	child := writeUntilFull(t, dir)
	if !strings.Contains(child.errors, "most likely the disk is full") || strings.Contains(child.errors, "goroutine") {
		t.Errorf("it ended with: %s %.1000s", child.refused, child.errors)
	}
	grow(t, disk)
	child.hasAll(t, dir)
}

// child is what became of the process.
type child struct {
	acknowledged []gestor.AppID
	refused      string
	errors       string
}

func writeUntilFull(t *testing.T, dir string) child {
	t.Helper()
	var c child
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullChild$")
	cmd.Env = append(os.Environ(), fullDir+"="+dir)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var id gestor.AppID
		switch _, err := fmt.Sscanf(lines.Text(), "acknowledged %s", &id); {
		case err == nil:
			c.acknowledged = append(c.acknowledged, id)
		case strings.HasPrefix(lines.Text(), "refused:"):
			c.refused = lines.Text()
		}
	}
	_ = cmd.Wait() // how it ended is in what it says
	c.errors = said.String()
	if len(c.acknowledged) == 0 {
		t.Fatalf("nothing was written: %s", c.errors)
	}
	return c
}

// hasAll checks that the data has all that was acknowledged, and takes more.
func (c child) hasAll(t *testing.T, dir string) {
	t.Helper()
	e := enginetest.Open(t, dir)
	defer e.Close()
	for _, id := range c.acknowledged {
		if _, err := e.View(gestor.SystemScope()).App(t.Context(), id); err != nil {
			t.Errorf("%s was acknowledged and is gone: %v", id, err)
		}
	}
	enginetest.Propose(t, e, enginetest.Actor(), command.CreateApp{App: gestor.App{ID: "app_more", Slug: "more"}})
}
