package build

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/saas-gestor/gestor/agent/internal/archive"
	"github.com/saas-gestor/gestor/agent/internal/artifact"
	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/runtime"
	"github.com/saas-gestor/gestor/agent/internal/source"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/plugins/runner/client"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// TestMain also is the init of the sandbox.
func TestMain(m *testing.M) {
	if handled, code := process.Main(os.Args[1:]); handled {
		os.Exit(code)
	}
	code := m.Run()
	_ = os.RemoveAll(programsDir)
	os.Exit(code)
}

// programsDir is where the runners are while the tests run, for every user.
var programsDir = filepath.Join(os.TempDir(), fmt.Sprintf("gestor-runners-%d", os.Getpid()))

const testUID = 71234

// sink keeps what a task says, the raw output only in part.
type sink struct {
	mu      sync.Mutex
	phases  []string
	text    strings.Builder
	written int64
	onLine  func(string) // gets all so far: a line may come in pieces
}

func (s *sink) Phase(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phases = append(s.phases, name)
}
func (s *sink) Progress(int) {}
func (s *sink) Logf(format string, args ...any) {
	_, _ = s.Write([]byte(fmt.Sprintf(format, args...) + "\n"))
}
func (s *sink) Stdout() io.Writer { return s }
func (s *sink) Stderr() io.Writer { return s }

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	s.written += int64(len(b))
	if s.text.Len() < 1<<20 {
		s.text.Write(b)
	}
	s.mu.Unlock()
	if s.onLine != nil {
		s.onLine(s.String())
	}
	return len(b), nil
}

func (s *sink) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.text.String() }

// uploads is a control server that takes artifacts.
type uploads struct {
	mu  sync.Mutex
	got map[string][]byte
}

func (u *uploads) Put(_ context.Context, _ string, _ uint64, digest string, size int64, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err == nil && int64(len(b)) != size {
		err = fmt.Errorf("got %d bytes of %d", len(b), size)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.got[digest] = b
	return err
}

// rig is a builder with everything real but the control server.
type rig struct {
	*Builder
	dir     string
	repos   string
	uploads *uploads
}

// programs builds the runners once.
var programs = sync.OnceValue(func() error {
	cmd := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", programsDir+"/", "./cmd/...")
	cmd.Dir = "../../../plugins"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
})

func newRig(t *testing.T) *rig {
	t.Helper()
	if err := programs(); err != nil {
		t.Fatal(err)
	}
	dir := openTempDir(t)
	host, err := process.New(process.Options{Dir: filepath.Join(dir, "process"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: dir, repos: filepath.Join(dir, "repos"), uploads: &uploads{got: map[string][]byte{}}}
	git, err := source.Open(source.Options{
		Dir: filepath.Join(dir, "git"), Sandbox: host.Sandbox(), Policy: source.Policy{LocalPrefixes: []string{r.repos}},
	})
	if err != nil {
		t.Fatal(err)
	}
	runtimes, err := runtime.Open(runtime.Options{Dir: filepath.Join(dir, "runtimes"), Sandbox: host.Sandbox(), UID: 65534})
	if err != nil {
		t.Fatal(err)
	}
	store, err := artifact.Open(filepath.Join(dir, "artifacts"), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	pool := client.Open(client.Options{Programs: map[string]string{
		"static": filepath.Join(programsDir, "gestor-runner-static"), "node": filepath.Join(programsDir, "gestor-runner-node"),
	}})
	t.Cleanup(pool.Close)
	r.Builder, err = New(Options{
		Dir: filepath.Join(dir, "builds"), CacheDir: filepath.Join(dir, "cache"), DetectUID: 65534, Git: git,
		EnsureUser: func(context.Context, string, uint32) error { return nil }, // namespaces need no name
		Runtimes:   runtimes, Runners: pool, Sandbox: host.Sandbox(), Artifacts: store, Upload: r.uploads,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// openTempDir is a temporary folder that every user may pass through.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gestor-build-") //nolint:usetesting // every user must be able to pass through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// repo commits files to a new repository and returns its path.
func (r *rig) repo(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(r.repos, fmt.Sprintf("r%d", len(files))+strings.ReplaceAll(t.Name(), "/", "_"))
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gitIn(t, dir, "init", "-q", "-b", "main")
	gitIn(t, dir, "add", "-A")
	gitIn(t, dir, "-c", "user.name=Ada", "-c", "user.email=a@b", "commit", "-q", "-m", "first\n\nbody")
	return dir
}

func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func buildTask(work *agentv1.BuildWork) task.Task {
	if work.App == nil {
		work.App = &agentv1.AppRef{Id: "app_1", Slug: "shop", Uid: testUID}
	}
	return task.Task{Secrets: &agentv1.Secrets{}, Spec: &agentv1.TaskSpec{
		Id: "tsk_1", Kind: "build", Fence: 7, Work: &agentv1.TaskSpec_Build{Build: work},
	}}
}

func (r *rig) build(t *testing.T, work *agentv1.BuildWork) (*agentv1.BuildResult, *sink, error) {
	t.Helper()
	out := &sink{}
	res, err := r.Executors()[0].Run(t.Context(), buildTask(work), out)
	return res.GetBuild(), out, err
}

// unpack returns the files of an uploaded artifact.
func (r *rig) unpack(t *testing.T, digest string) string {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	sum, err := archive.Unpack(t.Context(), bytes.NewReader(r.uploads.got[digest]), root, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Digest != digest {
		t.Fatalf("digest %s, uploaded as %s", sum.Digest, digest)
	}
	return dir
}
