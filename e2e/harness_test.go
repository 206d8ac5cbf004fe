package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// bin is where TestMain put the programs, built from the tree under test.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gestor-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { // the runners start as another user
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := buildPrograms(".", dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	return m.Run()
}

// buildPrograms builds the programs of the tree that a directory is in.
func buildPrograms(tree, dir string) error {
	for name, pkg := range map[string]string{
		"gestor-server":        "server/cmd/gestor-server",
		"gestor-agent":         "agent/cmd/gestor-agent",
		"gestor":               "cli/cmd/gestor",
		"gestor-runner-static": "plugins/cmd/gestor-runner-static",
		"gestor-runner-node":   "plugins/cmd/gestor-runner-node",
	} {
		cmd := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", filepath.Join(dir, name), "github.com/saas-gestor/gestor/"+pkg)
		cmd.Dir, cmd.Env = tree, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return nil
}

// world is a stack with what tests ask of it; failures end the test.
type world struct {
	*stack.Stack
	t *testing.T
}

// start runs a server and agents for the test; a failed test prints the ends of their logs.
func start(t *testing.T, agents int) *world {
	t.Helper()
	return startWith(t, stack.Options{Agents: agents})
}

// startWith runs what the options say. The logs of a failed test are kept.
func startWith(t *testing.T, o stack.Options) *world {
	t.Helper()
	dir, err := os.MkdirTemp("/var/lib", "gestor-e2e-") //nolint:usetesting // steps have a /tmp of their own, and must see the repositories
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	if o.Dir = dir; o.Bin == "" {
		o.Bin = bin
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s, err := stack.Open(t.Context(), o)
	if err != nil {
		printLogs(t, dir)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			printLogs(t, dir)
			for _, server := range s.Servers {
				server.Abort()
			}
			keepLogs(t, dir)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.RemoveUsers(context.Background()); err != nil { // the test's own context has ended
			t.Error(err)
		}
	})
	return &world{Stack: s, t: t}
}

// keepLogs copies the logs of a failed test to where they outlive it.
func keepLogs(t *testing.T, dir string) {
	t.Helper()
	to, err := os.MkdirTemp("", "gestor-failed-") //nolint:usetesting // it must outlive the test
	if err != nil {
		t.Error(err)
		return
	}
	for _, path := range logFiles(dir) {
		raw, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, strings.ReplaceAll(strings.TrimPrefix(path, dir+"/"), "/", "-")), raw, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	t.Logf("the whole logs are in %s", to)
}

func logFiles(dir string) []string {
	logs, _ := filepath.Glob(filepath.Join(dir, "*", "*.log")) // the pattern is right, as is the next
	more, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	return append(logs, more...)
}

func printLogs(t *testing.T, dir string) {
	t.Helper()
	for _, path := range logFiles(dir) {
		raw, _ := os.ReadFile(path)
		t.Logf("%s:\n%s", path, raw[max(0, len(raw)-6000):])
	}
}

// cli runs a command that must succeed.
func (w *world) cli(args ...string) string {
	w.t.Helper()
	out, err := w.CLI(w.t.Context(), args...)
	must(w.t, err)
	return out
}

// refused runs a command that must end with code and say all of words.
func (w *world) refused(code int, words []string, args ...string) {
	w.t.Helper()
	_, err := w.CLI(w.t.Context(), args...)
	e, ok := errors.AsType[*stack.CLIError](err)
	if !ok {
		w.t.Fatalf("gestor %s succeeded, want it refused with %q", strings.Join(args, " "), words)
	}
	if e.Code != code {
		w.t.Errorf("code %d, want %d: %v", e.Code, code, e)
	}
	for _, word := range words {
		if !strings.Contains(e.Stderr+e.Stdout, word) {
			w.t.Errorf("%v\ndoes not say %q", e, word)
		}
	}
}

// query runs a command with --json and decodes what it prints.
func query[T any](w *world, args ...string) T {
	w.t.Helper()
	var v T
	out := w.cli(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		w.t.Fatalf("gestor %s printed %q: %v", strings.Join(args, " "), out, err)
	}
	return v
}

// repo makes a git repository with the given files.
func (w *world) repo(name string, files map[string]string) stack.Repo {
	w.t.Helper()
	from := w.t.TempDir()
	r := stack.Repo{Dir: from}
	for path, content := range files {
		must(w.t, r.Write(path, content))
	}
	r, err := stack.NewRepo(w.t.Context(), filepath.Join(w.Dir, "repos", name), from)
	must(w.t, err)
	return r
}

// commit changes a file and commits it.
func (w *world) commit(r stack.Repo, path, content string) {
	w.t.Helper()
	must(w.t, r.Write(path, content))
	_, err := r.Commit(w.t.Context(), "change "+path)
	must(w.t, err)
}

// create makes an app on the first n nodes and returns its address on the first.
func (w *world) create(slug string, r stack.Repo, n int, more ...string) string {
	w.t.Helper()
	args := []string{"apps", "create", slug, "--repository", r.Dir, "--branch", "main"}
	for _, a := range w.Agents[:n] {
		args = append(args, "--node", a.Node)
	}
	w.cli(append(args, more...)...)
	return fmt.Sprintf("http://127.0.0.1:%d/", w.Agents[0].HTTPPort)
}

// fetch asks an address once.
func (w *world) fetch(url string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, url, http.NoBody)
	must(w.t, err)
	resp, err := http.DefaultClient.Do(req)
	must(w.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(w.t, err)
	return resp.StatusCode, string(body)
}

// serves requires that an address answers 200 with the body.
func (w *world) serves(url, want string) {
	w.t.Helper()
	if code, body := w.fetch(url); code != http.StatusOK || body != want {
		w.t.Fatalf("%s answers %d %q, want 200 %q", url, code, body, want)
	}
}

// until waits for a condition, a minute at most.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	must(w.t, stack.Poll(ctx, what, func(context.Context) (bool, error) { return done(), nil }))
}

// task is what the tests read of a task.
type task struct {
	ID           string `json:"id"`
	Kind         string `json:"kind"`
	State        string `json:"state"`
	Node         string `json:"node_name"`
	DeploymentID string `json:"deployment_id"`
	Attempt      int    `json:"attempt"`
	Phase        string `json:"phase"`
	Error        string `json:"error"`
}

func (w *world) tasks(app string) []task {
	w.t.Helper()
	return query[struct {
		Tasks []task `json:"tasks"`
	}](w, "tasks", "list", "--app", app, "--limit", "500").Tasks
}

// taskIn reports whether the app has a task of the kind in a state.
func (w *world) taskIn(app, kind, state string) bool {
	w.t.Helper()
	for _, t := range w.tasks(app) {
		if t.Kind == kind && t.State == "TASK_STATE_"+state {
			return true
		}
	}
	return false
}

// deployment is what the tests read of a deployment.
type deployment struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Error string `json:"error"`
}

func (w *world) deployments(app string) []deployment {
	w.t.Helper()
	return query[struct {
		Deployments []deployment `json:"deployments"`
	}](w, "deployments", "list", app).Deployments
}

// background runs a command; the function it returns waits for its end, two minutes at most.
func (w *world) background(args ...string) (wait func() error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		_, err := w.CLI(ctx, args...)
		done <- err
	}()
	return func() error { return <-done }
}

// current is where an app's link points on a node; it must point at a whole release.
func (w *world) current(a *stack.Agent, app string) string {
	w.t.Helper()
	link := filepath.Join(a.DeployRoot, app, "current")
	to, err := os.Readlink(link)
	must(w.t, err)
	if _, err := os.Stat(link); err != nil {
		w.t.Fatalf("%s points at %s, which is not there: %v", link, to, err)
	}
	return to
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
