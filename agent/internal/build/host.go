package build

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/runtime"
	"github.com/saas-gestor/gestor/agent/internal/source"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/plugins/runner"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// host is what a runner may ask for during one build.
type host struct {
	b     *Builder
	ctx   context.Context //nolint:containedctx // the build's, which ends all that the runner asks for
	id    string
	owner string
	w     workspace
	env   []string
	lim   limits
	sink  task.Sink

	mu   sync.Mutex // guards the fields below
	step int
	used bool              // something may have changed the tree
	bins map[string]string // folder of programs by runtime "name@version"
}

var _ runner.Host = (*host)(nil)

func (b *Builder) newHost(
	ctx context.Context, t task.Task, work *agentv1.BuildWork, w workspace, c source.Commit, l limits, out task.Sink,
) *host {
	return &host{
		b: b, ctx: ctx, id: t.Spec.GetId(), owner: work.GetApp().GetId(), w: w, lim: l, sink: out,
		env: environment(t, work, w, c, out), bins: map[string]string{},
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// environment is what every step of the build gets, the app's own variables first.
func environment(t task.Task, work *agentv1.BuildWork, w workspace, c source.Commit, out task.Sink) []string {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(t.Secrets.GetEnv())) {
		if !envName.MatchString(name) || reserved(name) || strings.Contains(t.Secrets.GetEnv()[name], "\x00") {
			out.Logf("warning: the variable %q is not given to the build: its name is reserved", name)
			continue
		}
		env = append(env, name+"="+t.Secrets.GetEnv()[name])
	}
	return append(env,
		"HOME="+w.home, "USER="+work.GetApp().GetSlug(), "LANG=C.UTF-8", "CI=1", "GESTOR=1",
		"GESTOR_APP="+work.GetApp().GetSlug(), fmt.Sprintf("GESTOR_BUILD=%d", work.GetNumber()),
		"GESTOR_COMMIT="+c.Hash, "GESTOR_REF="+work.GetSource().GetRef(),
	)
}

// reserved names would change which programs a step runs.
func reserved(name string) bool {
	return strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "GESTOR") ||
		slices.Contains([]string{"PATH", "HOME", "BASH_ENV", "ENV", "IFS", "SHELL"}, name)
}

// Run runs a command in the sandbox. Reaching a ceiling is an error; ending badly is not.
func (h *host) Run(ctx context.Context, c runner.Command) (runner.Exit, error) {
	h.use()
	ctx, cancel := h.joined(ctx)
	defer cancel()
	step, err := h.makeStep(ctx, c)
	if err != nil {
		return runner.Exit{}, err
	}
	tail := &lastBytes{max: 4 << 10}
	step.Stdout, step.Stderr = io.MultiWriter(h.sink.Stdout(), tail), io.MultiWriter(h.sink.Stderr(), tail)
	what := c.Line
	if what == "" {
		what = strings.Join(c.Argv, " ")
	}
	h.sink.Logf("$ %s", what)
	exit, err := h.b.o.Sandbox.Run(ctx, step)
	switch {
	case err != nil:
		return runner.Exit{}, fmt.Errorf("run %s: %w", what, err)
	case ctx.Err() != nil:
		return runner.Exit{}, context.Cause(ctx)
	case exit.Killed != "":
		return runner.Exit{}, h.reached(exit.Killed, what, step.Limits)
	}
	h.sink.Logf("ended with exit code %d after %.1f s", exitCode(exit), exit.Duration.Seconds())
	return runner.Exit{Code: exitCode(exit), Tail: tail.String()}, nil
}

// use notes that the tree is about to be changed.
func (h *host) use() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.used = true
}

// pristine tells that the tree is as git made it.
func (h *host) pristine() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.used
}

// joined ends with the call and with the build, whichever is first.
func (h *host) joined(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.ctx, func() { cancel(context.Cause(h.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// reached says which ceiling a step hit, how high it is and what to do.
func (h *host) reached(killed, what string, l process.Limits) error {
	var height string
	switch killed {
	case process.KilledMemory:
		height = size(int64(l.MemoryBytes))
	case process.KilledDisk:
		height = size(int64(l.DiskBytes))
	case process.KilledTime:
		height = l.Time.Round(time.Second).String()
	case process.KilledProcesses:
		height = strconv.Itoa(l.Processes)
	default:
		return fault.Cancelled("%s was stopped: %s", what, killed)
	}
	return fault.Exhausted("%s was stopped: it reached the %s of %s", what, killed, height).
		WithFix("raise the app's build limits, or make the build need less")
}

func (h *host) makeStep(ctx context.Context, c runner.Command) (process.Step, error) {
	h.mu.Lock()
	h.step++
	name := fmt.Sprintf("%s-step%d", h.id, h.step)
	h.mu.Unlock()
	dir, err := h.inTree(c.Dir)
	if err != nil {
		return process.Step{}, err
	}
	s := process.Step{
		Name: name, Argv: c.Argv, Command: c.Line, Dir: dir, UID: h.w.uid, GID: h.w.uid, Network: true,
		Writable: []string{h.w.src, h.w.home}, Limits: h.lim.Limits, Env: slices.Clone(h.env),
	}
	for _, k := range slices.Sorted(maps.Keys(c.Env)) {
		s.Env = append(s.Env, k+"="+c.Env[k])
	}
	if c.Timeout > 0 {
		s.Limits.Time = min(s.Limits.Time, c.Timeout)
	}
	for _, variable := range slices.Sorted(maps.Keys(c.CacheDirs)) {
		path, err := h.b.cache.folder(h.owner, c.CacheDirs[variable], h.w.uid)
		if err != nil {
			return process.Step{}, err
		}
		s.Env, s.Writable = append(s.Env, variable+"="+path), append(s.Writable, path)
	}
	return s, h.addPath(ctx, &s, c.Runtime)
}

func (h *host) addPath(ctx context.Context, s *process.Step, rt *runner.Runtime) error {
	path := runtime.DefaultPath
	if rt != nil {
		bin, err := h.binDir(ctx, *rt)
		if err != nil {
			return err
		}
		path = bin + ":" + path
		s.ReadOnly = append(s.ReadOnly, bin)
	}
	s.Env = append(s.Env, "PATH="+path)
	return nil
}

func (h *host) binDir(ctx context.Context, rt runner.Runtime) (string, error) {
	h.mu.Lock()
	bin, ok := h.bins[rt.Name+"@"+rt.Version]
	h.mu.Unlock()
	if ok {
		return bin, nil
	}
	return h.b.o.Runtimes.Ensure(ctx, rt.Name, rt.Version, h.sink.Logf)
}

// inTree makes a path of a runner's absolute.
func (h *host) inTree(dir string) (string, error) {
	if dir == "" {
		return h.w.tree(), nil
	}
	clean, err := runner.CleanDir(dir)
	return filepath.Join(h.w.tree(), clean), err
}

// Phase names what comes next.
func (h *host) Phase(_ context.Context, name string) error {
	h.sink.Phase(name)
	return nil
}

// Log writes a line of the runner's.
func (h *host) Log(_ context.Context, format string, args ...any) error {
	h.sink.Logf(format, args...)
	return nil
}

// ResolveRuntime makes an interpreter available.
func (h *host) ResolveRuntime(ctx context.Context, name, versions string) (runner.Runtime, error) {
	ctx, cancel := h.joined(ctx)
	defer cancel()
	rt, err := h.b.o.Runtimes.Resolve(ctx, name, versions, h.sink.Logf)
	if err != nil {
		return runner.Runtime{}, err
	}
	h.mu.Lock()
	h.bins[rt.Name+"@"+rt.Version] = rt.BinDir
	h.mu.Unlock()
	return runner.Runtime{Name: rt.Name, Version: rt.Version, BinDir: rt.BinDir}, nil
}

// RestoreCache puts a stored tree back.
func (h *host) RestoreCache(ctx context.Context, key, dir string) (bool, error) {
	h.use()
	root, dir, err := h.openTree(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	hit, err := h.b.cache.restore(ctx, h.owner, key, root, dir, int(h.w.uid))
	if err != nil && ctx.Err() == nil {
		h.sink.Logf("warning: the cache is not used: %v", err)
		return false, nil
	}
	return hit, err
}

// SaveCache stores a tree. That it cannot is no error: the next build only takes longer.
func (h *host) SaveCache(ctx context.Context, key, dir string) error {
	root, dir, err := h.openTree(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := h.b.cache.save(ctx, h.owner, key, root, dir); err != nil && ctx.Err() == nil {
		h.sink.Logf("warning: %s is not cached: %v", dir, err)
	}
	return ctx.Err()
}

func (h *host) openTree(dir string) (*os.Root, string, error) {
	clean, err := runner.CleanDir(dir)
	if err != nil || clean == "." {
		return nil, "", fmt.Errorf("%q cannot be cached", dir)
	}
	root, err := h.w.open()
	return root, clean, err
}

// exitCode is the code as a shell tells it.
func exitCode(e process.Exit) int {
	if e.Signal == "" {
		return e.Code
	}
	for n := 1; n < 65; n++ {
		if syscall.Signal(n).String() == e.Signal {
			return 128 + n
		}
	}
	return 128
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct {
	max int

	mu  sync.Mutex // guards buf: two streams write to it
	buf []byte
}

func (l *lastBytes) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, b[max(0, len(b)-l.max):]...)
	if over := len(l.buf) - l.max; over > 0 {
		l.buf = append(l.buf[:0], l.buf[over:]...)
	}
	return len(b), nil
}

func (l *lastBytes) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ToValidUTF8(string(l.buf), "\ufffd")
}
