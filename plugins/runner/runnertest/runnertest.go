// Package runnertest holds what every runner must do, as tests. They go through real gRPC over go-plugin in-process,
// and run the steps a runner asks for without a sandbox: use it only on trees you wrote.
package runnertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	plugin "github.com/hashicorp/go-plugin"

	"github.com/saas-gestor/gestor/plugins/runner"
	"github.com/saas-gestor/gestor/plugins/runner/client"
)

// Connect serves r as its program would and returns the agent's side of it. All ends with the test.
func Connect(t *testing.T, r runner.Runner) *client.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background()) // ends after the test's own clean-up
	reattach, closed := make(chan *plugin.ReattachConfig, 1), make(chan struct{})
	config := runner.ServeConfig(r)
	config.Test = &plugin.ServeTestConfig{Context: ctx, ReattachConfigCh: reattach, CloseCh: closed}
	go plugin.Serve(config)
	t.Cleanup(func() { cancel(); <-closed })
	select {
	case rc := <-reattach:
		p := plugin.NewClient(&plugin.ClientConfig{
			HandshakeConfig: runner.Handshake(), VersionedPlugins: client.Plugins(), Plugins: client.Plugins()[runner.ProtocolVersion],
			Reattach: rc, AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		})
		t.Cleanup(p.Kill)
		c, err := client.Dispense(p)
		if err != nil {
			t.Fatal(err)
		}
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("the runner did not start")
		return nil
	}
}

// Tree writes files to a new folder and returns it as a source.
func Tree(t *testing.T, files map[string]string) runner.Source {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil { //nolint:gosec // a repository is for all to read
			t.Fatal(err)
		}
	}
	return runner.Source{Dir: dir}
}

// Host runs what a runner asks for, in the tree, and remembers it.
type Host struct {
	// Source is the tree of the build.
	Source runner.Source
	// Pretend, if set, is asked instead of running a command.
	Pretend func(c runner.Command) (runner.Exit, error)

	mu       sync.Mutex // guards the fields below
	Commands []runner.Command
	Phases   []string
	Lines    []string
	Saved    map[string]string // folder by key
	Asked    []string          // ranges of versions
}

var _ runner.Host = (*Host)(nil)

// Run runs a command.
func (h *Host) Run(ctx context.Context, c runner.Command) (runner.Exit, error) {
	h.mu.Lock()
	h.Commands = append(h.Commands, c)
	h.mu.Unlock()
	if h.Pretend != nil {
		return h.Pretend(c)
	}
	argv := c.Argv
	if c.Line != "" {
		argv = []string{"sh", "-c", c.Line}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // what the runner under test asks for
	cmd.Dir, cmd.Env = filepath.Join(h.Source.Dir, c.Dir), os.Environ()
	for _, k := range slices.Sorted(maps.Keys(c.Env)) {
		cmd.Env = append(cmd.Env, k+"="+c.Env[k])
	}
	out, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return runner.Exit{}, err
	}
	return runner.Exit{Code: cmd.ProcessState.ExitCode(), Tail: string(out[max(0, len(out)-4096):])}, nil
}

// Phase remembers.
func (h *Host) Phase(_ context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Phases = append(h.Phases, name)
	return nil
}

// Log remembers.
func (h *Host) Log(_ context.Context, format string, args ...any) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Lines = append(h.Lines, fmt.Sprintf(format, args...))
	return nil
}

// ResolveRuntime has one version of everything.
func (h *Host) ResolveRuntime(_ context.Context, name, versions string) (runner.Runtime, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Asked = append(h.Asked, versions)
	return runner.Runtime{Name: name, Version: "22.11.0", BinDir: "/usr/bin"}, nil
}

// RestoreCache hits on what was saved, and restores an empty folder.
func (h *Host) RestoreCache(_ context.Context, key, dir string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.Saved[key]
	if !ok {
		return false, nil
	}
	return true, os.MkdirAll(filepath.Join(h.Source.Dir, dir), 0o755)
}

// SaveCache remembers.
func (h *Host) SaveCache(_ context.Context, key, dir string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Saved == nil {
		h.Saved = map[string]string{}
	}
	h.Saved[key] = dir
	return nil
}

// Case is a tree that a runner fits and can build on a machine with nothing but a shell and node.
type Case struct {
	Files map[string]string
	// Kind is what comes out.
	Kind runner.Kind
}

// Run checks a runner against the contract, with a tree it fits.
func Run(t *testing.T, r runner.Runner, c Case) { //nolint:thelper // a test itself
	t.Run("Info_IsStable", func(t *testing.T) {
		info, err := Connect(t, r).Info(t.Context())
		if err != nil || info != r.Info() || info.Name == "" || info.Version == "" {
			t.Fatalf("got %+v, %v", info, err)
		}
	})
	t.Run("Detect_FitsWithReasonsAndChangesNothing", func(t *testing.T) { detects(t, r, c) })
	t.Run("Detect_SaysWhyAnEmptyTreeDoesNotFit", func(t *testing.T) {
		d, err := Connect(t, r).Detect(t.Context(), Tree(t, nil))
		if err != nil || d.Fits || len(d.Reasons) == 0 {
			t.Fatalf("got %+v, %v", d, err)
		}
	})
	t.Run("Detect_SurvivesTreesMeantToHarm", func(t *testing.T) { survives(t, r) })
	t.Run("Build_MakesWhatItPromised", func(t *testing.T) { builds(t, r, c) })
	t.Run("Build_FailsWithTheCommand", func(t *testing.T) {
		s := Tree(t, c.Files)
		_, err := Connect(t, r).Build(t.Context(), runner.Request{Source: s, BuildCommand: "exit 3"}, &Host{Source: s})
		if err == nil || !strings.Contains(err.Error(), "exit code 3") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("Build_ReturnsTheHostsErrorAsItWas", func(t *testing.T) {
		s, gone := Tree(t, c.Files), errors.New("the host is gone")
		h := &Host{Source: s, Pretend: func(runner.Command) (runner.Exit, error) { return runner.Exit{}, gone }}
		_, err := Connect(t, r).Build(t.Context(), runner.Request{Source: s, BuildCommand: "true"}, h)
		if !errors.Is(err, gone) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("Build_EndsWithItsContext", func(t *testing.T) {
		s := Tree(t, c.Files)
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		h := &Host{Source: s, Pretend: func(runner.Command) (runner.Exit, error) {
			cancel(stopped)
			return runner.Exit{}, stopped
		}}
		_, err := Connect(t, r).Build(ctx, runner.Request{Source: s, BuildCommand: "true"}, h)
		if !errors.Is(err, stopped) {
			t.Fatalf("got %v", err)
		}
	})
}

func detects(t *testing.T, r runner.Runner, c Case) { //nolint:thelper // a test itself
	s := Tree(t, c.Files)
	d, err := Connect(t, r).Detect(t.Context(), s)
	if err != nil || !d.Fits || len(d.Reasons) == 0 {
		t.Fatalf("got %+v, %v", d, err)
	}
	n := 0
	_ = filepath.WalkDir(s.Dir, func(_ string, d os.DirEntry, _ error) error {
		if !d.IsDir() {
			n++
		}
		return nil
	})
	if n != len(c.Files) {
		t.Errorf("there were %d files and are %d", len(c.Files), n)
	}
}

// survives looks into links that leave the tree, pipes, broken JSON and folders in the place of files.
func survives(t *testing.T, r runner.Runner) { //nolint:thelper // a test itself
	c := Connect(t, r)
	secret := filepath.Join(t.TempDir(), "package.json")
	if err := os.WriteFile(secret, []byte(`{"scripts":{"start":"node topsecret.js","build":"topsecret"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string) error{
		"link":   func(p string) error { return os.Symlink(secret, p) },
		"folder": func(p string) error { return os.Mkdir(p, 0o755) },
		"broken": func(p string) error { return os.WriteFile(p, []byte(`{"scripts":`), 0o600) },
		"odd":    func(p string) error { return os.WriteFile(p, []byte(`{"engines":["node"],"scripts":{}}`), 0o600) },
	} {
		s := Tree(t, nil)
		if err := make(filepath.Join(s.Dir, "package.json")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		d, err := c.Detect(ctx, s)
		cancel()
		if err == nil && d.Fits || strings.Contains(fmt.Sprint(d, err), "topsecret") {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func builds(t *testing.T, r runner.Runner, c Case) { //nolint:thelper // a test itself
	s := Tree(t, c.Files)
	h := &Host{Source: s}
	got, err := Connect(t, r).Build(t.Context(), runner.Request{Source: s}, h)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(h.Lines, "\n"))
	}
	if got.Kind != c.Kind || (got.Kind == runner.Process && got.StartCommand == "") {
		t.Errorf("got %+v", got)
	}
	if !s.IsDir(filepath.Join(".", got.ArtifactDir, got.WebRoot)) {
		t.Errorf("%+v names a folder that is not there", got)
	}
}
