package agent_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/agent"
	"github.com/saas-gestor/gestor/agent/agenttest"
	"github.com/saas-gestor/gestor/agent/internal/config"
	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/task"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

func TestMain(m *testing.M) {
	if handled, code := process.Main(os.Args[1:]); handled {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// executor is a scripted one.
type executor struct {
	kind string
	run  func(ctx context.Context, t task.Task, out task.Sink) error
}

func (e executor) Kind() string { return e.kind }

func (e executor) Run(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	return nil, e.run(ctx, t, out)
}

// host is a machine with an agent that can be stopped and started again.
type host struct {
	t      *testing.T
	config agent.Config
	stop   func()
}

func newHost(t *testing.T, s *agenttest.Server, executors ...task.Executor) *host {
	t.Helper()
	c := config.Default()
	dir := t.TempDir()
	c.DataDir, c.DeployRoot, c.PolicyFile = filepath.Join(dir, "data"), filepath.Join(dir, "deploy"), filepath.Join(dir, "policy.toml")
	if _, err := agent.Join(t.Context(), c, s.Address(), s.Token(time.Hour), "test"); err != nil {
		t.Fatalf("join: %v", err)
	}
	return &host{t: t, config: agent.Config{
		Config: c, Version: "test", Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Executors: append([]task.Executor{}, executors...),
	}}
}

func (h *host) start() {
	h.t.Helper()
	a, err := agent.New(h.config)
	if err != nil {
		h.t.Fatalf("open agent: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	h.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("agent: %v", err)
		}
	}
	h.t.Cleanup(h.stop)
}

func spec(id string, fence uint64, resource string) *agentv1.TaskSpec {
	return &agentv1.TaskSpec{Id: id, Kind: "test", Attempt: 1, Fence: fence, Resource: resource}
}

// assertNowhere reads every file below dir.
func assertNowhere(t *testing.T, dir, secret string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // acknowledged segments vanish while we look
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(secret)) {
			t.Errorf("the secret is in %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
