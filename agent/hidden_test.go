package agent_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/saas-gestor/gestor/agent"
	"github.com/saas-gestor/gestor/agent/agenttest"
	"github.com/saas-gestor/gestor/agent/internal/process"
)

func TestAgent_HidesTheAppsOfTheHostFromBuilds(t *testing.T) {
	h := newHost(t, agenttest.New(t))
	root, err := os.MkdirTemp("/srv", "gestor-apps-") //nolint:usetesting // no sandbox shows /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	uploads := filepath.Join(root, "shop", "shared", "uploads")
	file := filepath.Join(uploads, "letter.txt")
	if err := os.MkdirAll(uploads, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("private"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil { // whatever the modes are, a build must not see it
		t.Fatal(err)
	}
	h.config.DeployRoot = root
	a, err := agent.New(h.config)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	step := process.Step{Name: "look", Argv: []string{"cat", file}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}, UID: 71237, GID: 71237}
	if exit, err := a.Sandbox().Run(t.Context(), step); err != nil || exit.OK() {
		t.Errorf("a build reads another app's uploads: %+v, %v", exit, err)
	}
	step.ReadOnly = []string{filepath.Join(root, "shop")}
	if exit, err := a.Sandbox().Run(t.Context(), step); err != nil || !exit.OK() {
		t.Errorf("an app does not see its own folder: %+v, %v", exit, err)
	}
}
