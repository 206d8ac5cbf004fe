package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/release"
	"github.com/saas-gestor/gestor/agent/internal/task"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// retire lets the programs of releases that are not live end, once nginx has no request left for them, and removes the
// releases that are not kept.
func (d *Deployer) retire(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	w := t.Spec.GetRetire()
	dir, err := d.openFenced(w.GetApp(), t.Spec.GetFence())
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // only a handle
	current, err := dir.Current()
	if err != nil {
		return nil, err
	}
	if err := d.letGo(ctx, w, current, out); err != nil {
		return nil, err
	}
	removed, err := dir.Prune(w.GetKeep())
	if err != nil {
		return nil, err
	}
	if len(removed) > 0 {
		out.Logf("removed %d releases", len(removed))
	}
	return &agentv1.TaskResult{}, d.forget(w.GetApp().GetSlug(), removed)
}

func (d *Deployer) letGo(ctx context.Context, w *agentv1.RetireWork, current string, out task.Sink) error {
	old, err := d.units(ctx, w.GetApp(), current)
	if err != nil || len(old) == 0 {
		return err
	}
	most := w.GetDrain().AsDuration()
	if most <= 0 {
		most = 30 * time.Second
	}
	out.Phase("drain")
	drained, err := d.o.Web.Drain(ctx, most)
	if err != nil {
		return fmt.Errorf("wait for requests under way: %w", err)
	}
	if !drained {
		out.Logf("requests on the old release did not end within %s", most)
	}
	out.Phase("stop")
	return d.stop(ctx, old, 10*time.Second)
}

// units are the app's, but for one release's.
func (d *Deployer) units(ctx context.Context, app *agentv1.AppRef, but string) ([]string, error) {
	all, err := d.o.Supervisor.List(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, st := range all {
		if r, ours := releaseOf(app, st.Name); ours && r != but {
			names = append(names, st.Name)
		}
	}
	return names, nil
}

func (d *Deployer) stop(ctx context.Context, units []string, grace time.Duration) error {
	for _, u := range units {
		if err := d.o.Supervisor.Stop(ctx, u, grace); err != nil {
			return err
		}
	}
	return nil
}

// forget lets the ports of releases that are gone be used again.
func (d *Deployer) forget(slug string, releases []string) error {
	d.ports.Lock()
	defer d.ports.Unlock()
	s, err := d.load(slug)
	if err != nil {
		return err
	}
	for _, r := range releases {
		delete(s.Ports, r)
		delete(s.Specs, r)
	}
	return d.save(slug, s)
}

// remove removes an app from the host.
func (d *Deployer) remove(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	w := t.Spec.GetRemove()
	dir, err := d.openFenced(w.GetApp(), t.Spec.GetFence())
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // only a handle
	out.Phase("remove")
	if err := d.takeOff(ctx, dir, w.GetApp(), t.Spec.GetFence()); err != nil {
		return nil, err
	}
	units, err := d.units(ctx, w.GetApp(), "")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.stop(ctx, units, 0), dir.Remove(w.GetPurge())); err != nil {
		return nil, err
	}
	if err := d.o.Builds.Forget(w.GetApp().GetId()); err != nil {
		return nil, err
	}
	if err := os.Remove(d.statePath(w.GetApp().GetSlug())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("forget app %s: %w", w.GetApp().GetSlug(), err)
	}
	if !w.GetPurge() {
		return &agentv1.TaskResult{}, nil
	}
	if err := os.Remove(dir.Path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove directory of app %s: %w", w.GetApp().GetSlug(), err)
	}
	return &agentv1.TaskResult{}, release.RemoveUser(ctx, w.GetApp().GetSlug())
}
