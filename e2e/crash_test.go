package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/e2e/stack"
)

func addressOf(a *stack.Agent) string { return fmt.Sprintf("http://127.0.0.1:%d/", a.HTTPPort) }

// underLoad runs f while the address gets 200 requests a second.
func (w *world) underLoad(url string, f func()) stack.LoadResult {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	load := stack.Load{URL: url, Rate: 200, KeepAlive: true}
	result := make(chan stack.LoadResult, 1)
	go func() { result <- load.Run(ctx) }()
	f()
	stop()
	return <-result
}

// inDir runs a command in a directory.
func (w *world) inDir(dir string, args ...string) (string, error) {
	cmd := w.Command(w.t.Context(), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// ended requires exactly one task of the kind, ended well.
func (w *world) endedOnce(app, kind string) {
	w.t.Helper()
	n := 0
	for _, task := range w.tasks(app) {
		if task.Kind == kind {
			n++
			if task.State != "TASK_STATE_SUCCEEDED" {
				w.t.Errorf("task %s (%s) is %s: %s", task.ID, kind, task.State, task.Error)
			}
		}
	}
	if n != 1 {
		w.t.Errorf("%d tasks of kind %s, want 1", n, kind)
	}
}

func TestCrash_AgentKilledInABuildBuildsAgainAndLeavesNothingBehind(t *testing.T) {
	w := start(t, 1)
	gate := filepath.Join(w.Dir, "repos", "gate") // the build waits for it; the sandbox can read it
	r := w.repo("app", map[string]string{"index.html": "one"})
	url := w.create("app", r, 1, "--type", "static", "--output", ".",
		"--build-command", fmt.Sprintf("until [ -e %s ]; do :; done; echo once >> index.html", gate))
	done := w.background("deploy", "app")
	w.until("the build to run", func() bool { return builds(w) > 0 })

	w.Agents[0].Kill()
	w.until("the build's processes to be gone", func() bool { return builds(w) == 0 })
	must(t, os.WriteFile(gate, nil, 0o644))
	must(t, w.Agents[0].Start())

	must(t, done())
	w.serves(url, "oneonce\n")
	w.endedOnce("app", "build")
	w.endedOnce("app", "switch")
}

// builds counts the processes of the build command on this machine.
func builds(w *world) int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	n := 0
	for _, line := range lines {
		raw, _ := os.ReadFile(line)
		if strings.HasPrefix(string(raw), "/bin/sh\x00-c\x00until [ -e "+w.Dir) {
			n++
		}
	}
	return n
}

func TestCrash_AgentKilledInAPrepareEndsItOnce(t *testing.T) {
	w := start(t, 1)
	gate := filepath.Join(w.Dir, "repos", "gate")
	r := w.repo("app", map[string]string{"index.html": "one"})
	url := w.create("app", r, 1)
	w.cli("deploy", "app")
	w.cli("apps", "set", "app", "--pre-switch", fmt.Sprintf("until [ -e %s ]; do :; done", gate))
	before := w.current(w.Agents[0], "app")

	w.commit(r, "index.html", "two")
	done := w.background("deploy", "app")
	w.until("the hook to run", func() bool { return builds(w) > 0 })
	w.Agents[0].Kill()
	if got := w.current(w.Agents[0], "app"); got != before {
		t.Errorf("current is %s, want %s until the switch", got, before)
	}
	w.serves(url, "one")
	must(t, os.WriteFile(gate, nil, 0o644))
	must(t, w.Agents[0].Start())
	must(t, done())
	w.serves(url, "two")
}

// The agent is killed again and again while deployments run, so that every point of prepare and switch is hit in
// time; current must be whole at each moment and every deployment must end.
func TestCrash_AgentKilledDuringSwitchesNeverBreaksCurrent(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", nodeApp("v0"))
	url := w.create("app", r, 1, "--watch", "0s")
	w.cli("deploy", "app")
	for i := 1; i <= 6; i++ {
		version := fmt.Sprintf("v%d", i)
		w.commit(r, "server.js", strings.ReplaceAll(nodeServer, "VERSION", version))
		done := w.background("deploy", "app")
		kind := []string{"prepare", "switch"}[i%2]
		w.until("a "+kind, func() bool { return w.heldOrDone("app", kind, i+1) })
		w.Agents[0].Kill()
		w.current(w.Agents[0], "app")
		if code, body := w.fetch(url); code != 200 {
			t.Errorf("with the agent dead the app answers %d %q", code, body)
		}
		must(t, w.Agents[0].Start())
		must(t, done())
		w.serves(url, version)
	}
}

// heldOrDone reports whether the n-th task of a kind was given to the node.
func (w *world) heldOrDone(app, kind string, n int) bool {
	given := 0
	for _, task := range w.tasks(app) {
		if task.Kind == kind && task.State != "TASK_STATE_QUEUED" {
			given++
		}
	}
	return given >= n
}

func TestCrash_ServerKilledInADeployPicksTheResultUp(t *testing.T) {
	w := start(t, 1)
	gate := filepath.Join(w.Dir, "repos", "gate")
	r := w.repo("app", map[string]string{"index.html": "one"})
	url := w.create("app", r, 1, "--type", "static", "--output", ".",
		"--build-command", fmt.Sprintf("until [ -e %s ]; do :; done; echo built", gate))
	done := w.background("deploy", "app")
	w.until("the build to run", func() bool { return builds(w) > 0 })

	w.Server.Kill()
	must(t, os.WriteFile(gate, nil, 0o644)) // the build ends while nobody listens
	w.until("the build to end", func() bool { return builds(w) == 0 })
	must(t, w.Server.Start())

	must(t, done()) // the command came back by itself
	w.serves(url, "one")
	w.endedOnce("app", "build")
	w.endedOnce("app", "switch")
	if out := w.cli("logs", "app", "--build", "1"); !strings.Contains(out, "built") {
		t.Errorf("the build's log is %q, want the line printed while the server was away", out)
	}
}

func TestCrash_AppsServeWhileServerAndAgentAreAway(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", nodeApp("v0"))
	url := w.create("app", r, 1, "--watch", "0s")
	w.cli("deploy", "app")
	w.Server.Kill()
	w.Agents[0].Kill()
	w.serves(url, "v0")
	must(t, w.Agents[0].Start()) // an agent that starts without a server adopts what runs
	w.serves(url, "v0")
	must(t, w.Server.Start())
	must(t, w.WaitConnected(t.Context()))
	w.commit(r, "server.js", strings.ReplaceAll(nodeServer, "VERSION", "v1"))
	w.cli("deploy", "app")
	w.serves(url, "v1")
}
