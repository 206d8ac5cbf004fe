package deploy

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/agent/internal/release"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// prepare makes a release ready beside the live one.
func (d *Deployer) prepare(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	w := t.Spec.GetPrepare()
	if err := d.check(w); err != nil {
		return nil, err
	}
	if err := release.EnsureUser(ctx, d.o.Root, appOf(w.GetApp())); err != nil {
		return nil, err
	}
	dir, err := d.open(w.GetApp())
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // only a handle
	already, err := d.place(ctx, t, w, dir, out)
	if err != nil {
		return nil, err
	}
	if err := d.ready(ctx, t, w, dir, out); err != nil {
		return nil, err
	}
	out.Progress(100)
	return &agentv1.TaskResult{Result: &agentv1.TaskResult_Prepare{Prepare: &agentv1.PrepareResult{AlreadyThere: already}}}, nil
}

// check refuses what cannot go well while nothing has changed.
func (d *Deployer) check(w *agentv1.PrepareWork) error {
	if err := release.CheckName(w.GetRelease().GetName()); err != nil {
		return err
	}
	if err := release.CheckSharedList(w.GetServing().GetShared()); err != nil {
		return err
	}
	// A host whose web server cannot be used is told here, and not at the switch.
	_, _, err := d.o.Web.Site(w.GetApp().GetSlug())
	return err
}

// ready takes a release whose files are there to where only the switch is missing.
func (d *Deployer) ready(ctx context.Context, t task.Task, w *agentv1.PrepareWork, dir *release.Dir, out task.Sink) error {
	r := w.GetRelease()
	if err := dir.WriteEnv(r.GetName(), t.Secrets.GetEnv()); err != nil {
		return err
	}
	p, err := d.program(ctx, dir, w.GetApp(), r, w.GetServing(), out)
	if err != nil {
		return err
	}
	if w.GetPreSwitch() != "" {
		if err := p.hook(ctx, t, out, "pre_switch", w.GetPreSwitch()); err != nil {
			return err
		}
	}
	if r.GetKind() != gestorv1.AppKind_APP_KIND_PROCESS {
		return nil
	}
	out.Phase("start")
	return p.start(ctx, out)
}

// program finds the interpreter of a release.
func (d *Deployer) program(ctx context.Context, dir *release.Dir, app *agentv1.AppRef, r *agentv1.ReleaseSpec, s *agentv1.Serving, out task.Sink) (*program, error) {
	binDir := ""
	if rt := r.GetRuntime(); rt.GetName() != "" {
		var err error
		if binDir, err = d.o.Runtimes.Ensure(ctx, rt.GetName(), rt.GetVersion(), out.Logf); err != nil {
			return nil, fmt.Errorf("find %s %s: %w", rt.GetName(), rt.GetVersion(), err)
		}
	}
	if err := release.CheckSharedList(s.GetShared()); err != nil {
		return nil, err
	}
	return &program{d: d, dir: dir, app: app, name: r.GetName(), serving: s, spec: specOf(r, s, binDir)}, nil
}

// place brings the files of a release onto the host.
func (d *Deployer) place(ctx context.Context, t task.Task, w *agentv1.PrepareWork, dir *release.Dir, out task.Sink) (bool, error) {
	r := w.GetRelease()
	info := release.Info{Name: r.GetName(), Digest: r.GetArtifactDigest(), ID: r.GetId()}
	shared := slices.Clone(w.GetServing().GetShared())
	return dir.Prepare(info, shared, func(root *os.Root) error {
		if err := enoughSpace(dir.Path(), r); err != nil {
			return err
		}
		out.Phase("download")
		artifact := d.artifact(ctx, t, r)
		defer artifact.Close() //nolint:errcheck // only read
		got, err := extract(ctx, artifact, dir, root, r)
		if err != nil {
			return err
		}
		if got.Digest != r.GetArtifactDigest() {
			return task.Retryable(fault.Conflict("the artifact of release %s arrived damaged: its digest is %s, not %s",
				r.GetName(), got.Digest, r.GetArtifactDigest()))
		}
		out.Logf("release %s unpacked: %d files, %d bytes", r.GetName(), got.Files, got.Unpacked)
		return nil
	})
}

// artifact reads the one on this host, or else the servers'.
func (d *Deployer) artifact(ctx context.Context, t task.Task, r *agentv1.ReleaseSpec) io.ReadCloser {
	if f, ok := d.o.Artifacts.Open(r.GetArtifactDigest()); ok {
		return f
	}
	return &download{size: r.GetArtifactBytes(), ctx: ctx, get: func(offset int64) (io.ReadCloser, error) {
		return d.o.Blobs.Get(ctx, t.Spec.GetId(), t.Spec.GetFence(), r.GetArtifactDigest(), offset)
	}}
}

// enoughSpace refuses a release that would fill the disk.
func enoughSpace(path string, r *agentv1.ReleaseSpec) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("look for space: %w", err)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	need := uint64(max(0, r.GetUnpackedBytes()))
	need += need / 10
	if free < need {
		return fault.Exhausted("no space for release %s: it needs %s, %s has %s free", r.GetName(), size(need), path, size(free)).
			WithFix("free some, or keep fewer releases")
	}
	if fs.Files > 0 && fs.Ffree < uint64(max(0, r.GetFiles())) {
		return fault.Exhausted("no space for release %s: it has %d files, %s has room for %d", r.GetName(), r.GetFiles(), path, fs.Ffree).
			WithFix("remove files, or keep fewer releases")
	}
	return nil
}

func size(bytes uint64) string {
	if bytes < 10<<20 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
