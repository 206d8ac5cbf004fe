package process

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const testUID = 61999

// TestMain also is the init and the supervisor of the programs under test, and an agent that can be killed.
func TestMain(m *testing.M) {
	if handled, code := Main(os.Args[1:]); handled {
		os.Exit(code)
	}
	if len(os.Args) == 4 && os.Args[1] == "agent-to-be-killed" {
		os.Exit(agentToBeKilled(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// newHost returns a host that forgets everything with the test.
func newHost(t *testing.T, kind Kind) *Host {
	t.Helper()
	return newHostIn(t, openDir(t), kind)
}

func newHostIn(t *testing.T, dir string, kind Kind) *Host {
	t.Helper()
	h, err := New(Options{Dir: dir, Kind: kind, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// openDir is a directory every user can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) { //nolint:usetesting // all up to it
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// workDir is a directory of the test user's.
func workDir(t *testing.T) string {
	t.Helper()
	dir := openDir(t)
	if err := os.Chown(dir, testUID, testUID); err != nil {
		t.Fatal(err)
	}
	return dir
}

func step(t *testing.T, command string) Step {
	t.Helper()
	dir := workDir(t)
	return Step{
		Name: strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()), Command: command, Dir: dir,
		Env: []string{"PATH=/usr/bin:/bin"}, UID: testUID, GID: testUID, Writable: []string{dir},
	}
}

// run runs a step and returns what it said.
func run(t *testing.T, h *Host, s Step) (Exit, string) {
	t.Helper()
	var out bytes.Buffer
	s.Stdout, s.Stderr = &out, &out
	exit, err := h.Sandbox().Run(t.Context(), s)
	if err != nil {
		t.Fatalf("run: %v (output %s)", err, out.String())
	}
	return exit, out.String()
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(15 * time.Second); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// processesOf counts the living processes of a user whose command line holds text.
func processesOf(text string) int {
	n := 0
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if errors.Is(err, os.ErrNotExist) || pid == os.Getpid() {
			continue
		}
		if s, err := readStat(pid); err == nil && s.state != 'Z' && strings.Contains(string(line), text) {
			n++
		}
	}
	return n
}
