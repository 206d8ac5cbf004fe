package client

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const testUID = 71236

// static builds a runner where every user may run it.
func static(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gestor-runner-") //nolint:usetesting // every user must be able to pass through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "gestor-runner-static")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "../../cmd/gestor-runner-static")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// pid is the process that is at work.
func (p *Pool) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.busy {
		return w.plugin.ReattachConfig().Pid
	}
	return 0
}

func TestServe_ClosesTheProcessToOthersOfItsUser(t *testing.T) {
	pool := Open(Options{Programs: map[string]string{"static": static(t)}})
	defer pool.Close()
	err := pool.Use(t.Context(), "static", testUID, func(ctx context.Context, c *Client) error {
		if _, err := c.Info(ctx); err != nil {
			return err
		}
		proc := fmt.Sprintf("/proc/%d", pool.pid())
		for _, path := range []string{"root", "cwd", "exe"} {
			if out, err := asUser(ctx, "readlink", filepath.Join(proc, path)); err == nil {
				t.Errorf("another process of the user reads %s: %s", path, out)
			}
		}
		if out, err := asUser(ctx, "ls", proc+"/root/"); err == nil {
			t.Errorf("another process of the user enters root: %s", out)
		}
		threads, err := filepath.Glob(proc + "/task/*/status")
		if err != nil || len(threads) == 0 {
			t.Errorf("threads are %v, %v", threads, err)
		}
		for _, thread := range threads {
			if b, err := os.ReadFile(thread); err == nil && !strings.Contains(string(b), "NoNewPrivs:\t1\n") {
				t.Errorf("%s may gain rights", thread)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// asUser runs a program as the user of the runner, outside of any sandbox.
func asUser(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testUID, Gid: testUID, Groups: []uint32{}}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
