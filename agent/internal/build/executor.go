package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/archive"
	"github.com/saas-gestor/gestor/agent/internal/source"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/plugins/runner"
	"github.com/saas-gestor/gestor/plugins/runner/client"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// mostKept is the size up to which the tree of a build that ran nothing is kept for the next, in bytes.
const mostKept = 256 << 20

// buildExecutor carries out tasks of kind "build".
type buildExecutor struct{ b *Builder }

var _ task.Executor = (*buildExecutor)(nil)

// Kind is "build".
func (*buildExecutor) Kind() string { return "build" }

// Run builds a commit and returns its artifact.
func (e *buildExecutor) Run(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	work := t.Spec.GetBuild()
	if work == nil || !validID.MatchString(work.GetApp().GetId()) {
		return nil, errors.New("the build task names no app")
	}
	l := limitsOf(work.GetLimits())
	ctx, cancel := context.WithTimeoutCause(ctx, l.Time,
		fault.Timeout("the build took longer than %s", l.Time).WithFix("raise the time in the app's build limits"))
	defer cancel()
	if err := e.b.o.EnsureUser(ctx, work.GetApp().GetSlug(), work.GetApp().GetUid()); err != nil {
		return nil, err
	}
	w, err := e.b.workspace(t.Spec.GetId(), work.GetApp().GetUid())
	if err != nil {
		return nil, err
	}
	defer e.b.remove(w)
	defer e.b.cache.Use(work.GetApp().GetId())()
	return e.build(ctx, t, work, w, l, out)
}

// build goes from the source to the artifact in a workspace.
func (e *buildExecutor) build(
	ctx context.Context, t task.Task, work *agentv1.BuildWork, w workspace, l limits, out task.Sink,
) (*agentv1.TaskResult, error) {
	commit, err := e.b.fetch(ctx, t, &w, work.GetSource(), work.GetApp().GetId(), l, out)
	if err != nil {
		return nil, err
	}
	if w.root, err = subfolder(w.src, work.GetSource().GetRoot()); err != nil {
		return nil, err
	}
	name, err := e.choose(ctx, work, w, out)
	if err != nil {
		return nil, err
	}
	h := e.b.newHost(ctx, t, work, w, commit, l, out)
	built, err := e.run(ctx, name, work, h)
	if err != nil {
		return nil, orCause(ctx, err)
	}
	sum, err := e.deliver(ctx, t, w, built, out)
	if err != nil {
		return nil, orCause(ctx, err)
	}
	if h.pristine() && sum.Unpacked <= mostKept {
		e.b.o.Git.Keep(*w.got)
	}
	return result(commit, name, built, sum), nil
}

// orCause prefers the reason for which a build was ended to what broke because of that.
func orCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (b *Builder) fetch(
	ctx context.Context, t task.Task, w *workspace, src *agentv1.Source, owner string, l limits, out task.Sink,
) (source.Commit, error) {
	out.Phase("fetch")
	out.Logf("fetching %s", src.GetRepository())
	began := time.Now()
	r := source.Request{
		Name: t.Spec.GetId(), Owner: owner, UID: w.uid, Source: src, Key: t.Secrets.GetSshKey(), Into: w.src,
		Limits: l.forFetch(), Output: out.Stderr(), FindBranch: t.Spec.GetDetect() != nil,
	}
	commit, err := b.o.Git.Fetch(ctx, r)
	if err != nil {
		return source.Commit{}, err
	}
	w.got = &r
	out.Logf("at commit %.12s by %s: %s (%d ms)", commit.Hash, commit.Author, commit.Subject, time.Since(began).Milliseconds())
	return commit, nil
}

// subfolder is the app's folder in a tree, relative to it. It must be a real folder: a link could lead anywhere. That
// holds until something from the repository has run; what is opened later is opened with workspace.open.
func subfolder(src, root string) (string, error) {
	if root == "" {
		return ".", nil
	}
	clean, err := runner.CleanDir(root)
	if err != nil {
		return "", fault.Invalid("root", "%v", err)
	}
	tree := filepath.Join(src, clean)
	resolved, err := filepath.EvalSymlinks(tree)
	base, baseErr := filepath.EvalSymlinks(src)
	info, statErr := os.Lstat(tree)
	if errors.Join(err, baseErr, statErr) != nil || !info.IsDir() || resolved != filepath.Join(base, clean) {
		return "", fault.Invalid("root", "there is no folder %s in the repository", root)
	}
	return clean, nil
}

// choose returns the runner that builds: the one the app names, or the first that fits.
func (e *buildExecutor) choose(
	ctx context.Context, work *agentv1.BuildWork, w workspace, out task.Sink,
) (string, error) {
	if work.GetType() != gestorv1.AppType_APP_TYPE_UNSPECIFIED {
		name, ok := runnerName(work.GetType())
		if !ok {
			return "", fault.Conflict("apps of type %s cannot be built yet", work.GetType()).
				WithFix("node and static can")
		}
		return name, nil
	}
	out.Phase("detect")
	name, _, err := e.b.detect(ctx, w.uid, w.tree(), out)
	return name, err
}

func (e *buildExecutor) run(ctx context.Context, name string, work *agentv1.BuildWork, h *host) (runner.Result, error) {
	var built runner.Result
	err := e.b.o.Runners.Use(ctx, name, h.w.uid, func(ctx context.Context, c *client.Client) (err error) {
		h.sink.Phase("install")
		built, err = c.Build(ctx, runner.Request{
			Source: runner.Source{Dir: h.w.tree()}, BuildCommand: work.GetBuildCommand(),
			StartCommand: work.GetStartCommand(), Output: work.GetOutput(),
		}, h)
		return err
	})
	return built, err
}

// deliver packs what was built, keeps it here and uploads it.
func (e *buildExecutor) deliver(
	ctx context.Context, t task.Task, w workspace, built runner.Result, out task.Sink,
) (archive.Summary, error) {
	out.Phase("pack")
	began := time.Now()
	sum, err := e.pack(ctx, w, built)
	if err != nil {
		return sum, fault.Wrap(err, "pack the artifact")
	}
	out.Logf("packed %d files, %s into %s (%d ms)", sum.Files, size(sum.Unpacked), size(sum.Bytes), time.Since(began).Milliseconds())
	out.Phase("upload")
	r, ok := e.b.o.Artifacts.Open(sum.Digest)
	if !ok {
		return sum, errors.New("the artifact is gone from the store")
	}
	defer r.Close() //nolint:errcheck // only read
	if err := e.b.o.Upload.Put(ctx, t.Spec.GetId(), t.Spec.GetFence(), sum.Digest, sum.Bytes, r); err != nil {
		return sum, task.Retryable(fault.Wrap(err, "upload the artifact"))
	}
	return sum, nil
}

func (e *buildExecutor) pack(ctx context.Context, w workspace, built runner.Result) (archive.Summary, error) {
	root, err := w.open()
	if err != nil {
		return archive.Summary{}, err
	}
	defer root.Close()
	if built.ArtifactDir != "" {
		dir, err := root.OpenRoot(built.ArtifactDir)
		if err != nil {
			return archive.Summary{}, fault.Invalid("output", "the folder %s is not there after the build", built.ArtifactDir)
		}
		defer dir.Close()
		root = dir
	}
	p, err := e.b.o.Artifacts.Create()
	if err != nil {
		return archive.Summary{}, err
	}
	defer p.Discard()
	sum, err := archive.Pack(ctx, root, archive.PackOptions{
		Exclude: append([]string{".git"}, built.Exclude...), ModTime: time.Now(),
	}, p)
	if err != nil {
		return sum, err
	}
	if sum.Files == 0 {
		return sum, fault.Invalid("output", "the build left nothing behind: the folder to release is empty")
	}
	return sum, p.Commit(sum.Digest)
}

func result(c source.Commit, name string, built runner.Result, sum archive.Summary) *agentv1.TaskResult {
	out := &agentv1.BuildResult{
		Commit: c.Hash, Message: c.Subject, Author: c.Author, ArtifactDigest: sum.Digest, ArtifactBytes: sum.Bytes,
		UnpackedBytes: sum.Unpacked, Files: sum.Files, Type: appType(name), Kind: appKind(built.Kind),
		WebRoot: built.WebRoot, StartCommand: built.StartCommand,
	}
	if built.Runtime != nil {
		out.Runtime = &agentv1.Runtime{Name: built.Runtime.Name, Version: built.Runtime.Version}
	}
	return &agentv1.TaskResult{Result: &agentv1.TaskResult_Build{Build: out}}
}

func runnerName(t gestorv1.AppType) (string, bool) {
	switch t {
	case gestorv1.AppType_APP_TYPE_NODE:
		return "node", true
	case gestorv1.AppType_APP_TYPE_STATIC:
		return "static", true
	default:
		return "", false
	}
}

func appType(name string) gestorv1.AppType {
	switch name {
	case "node":
		return gestorv1.AppType_APP_TYPE_NODE
	case "static":
		return gestorv1.AppType_APP_TYPE_STATIC
	default:
		return gestorv1.AppType_APP_TYPE_UNSPECIFIED
	}
}

func appKind(k runner.Kind) gestorv1.AppKind {
	if k == runner.Static {
		return gestorv1.AppKind_APP_KIND_STATIC
	}
	return gestorv1.AppKind_APP_KIND_PROCESS
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
