package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/agent/internal/release"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// switchTo makes a prepared release live, or live again, or takes the app off.
func (d *Deployer) switchTo(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	w := t.Spec.GetSwitch()
	dir, err := d.openFenced(w.GetApp(), t.Spec.GetFence())
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // only a handle
	previous, err := d.begin(dir, w, t.Spec.GetFence())
	if err != nil {
		return nil, err
	}
	result := &agentv1.SwitchResult{Previous: previous}
	switch {
	case w.GetRelease().GetName() == "":
		err = d.takeOff(ctx, dir, w.GetApp(), t.Spec.GetFence())
	case w.GetRelease().GetKind() == gestorv1.AppKind_APP_KIND_PROCESS:
		err = d.switchProgram(ctx, t, dir, out)
	default:
		err = d.switchFiles(ctx, t, dir, previous, out)
	}
	if err != nil {
		return nil, err
	}
	result.LiveAt = timestamppb.New(time.Now())
	if w.GetRelease().GetName() != "" {
		result.Addresses = d.addresses(w.GetServing())
		if err := d.postSwitch(ctx, t, dir, out); err != nil {
			return nil, err
		}
	}
	return &agentv1.TaskResult{Result: &agentv1.TaskResult_Switch{Switch: result}}, nil
}

// begin remembers what is live before anything changes, so that a switch that was cut off can still tell.
func (d *Deployer) begin(dir *release.Dir, w *agentv1.SwitchWork, fence uint64) (previous string, err error) {
	slug, name := w.GetApp().GetSlug(), w.GetRelease().GetName()
	d.ports.Lock()
	defer d.ports.Unlock()
	s, err := d.load(slug)
	if err != nil {
		return "", err
	}
	if s.Switch.Fence == fence && s.Switch.Release == name {
		return s.Switch.Previous, nil
	}
	if previous, err = dir.Current(); err != nil {
		return "", err
	}
	s.Switch = switchState{Fence: fence, Release: name, Previous: previous}
	return previous, d.save(slug, s)
}

func (d *Deployer) takeOff(ctx context.Context, dir *release.Dir, app *agentv1.AppRef, fence uint64) error {
	if err := d.o.Web.Remove(ctx, app.GetSlug()); err != nil {
		return err
	}
	return dir.Activate("", fence)
}

// switchFiles flips the link. nginx is told only if what it serves changes in another way.
func (d *Deployer) switchFiles(ctx context.Context, t task.Task, dir *release.Dir, previous string, out task.Sink) error {
	w := t.Spec.GetSwitch()
	out.Phase("switch")
	if err := dir.Activate(w.GetRelease().GetName(), t.Spec.GetFence()); err != nil {
		return err
	}
	_, err := d.o.Web.Apply(ctx, d.site(dir, w.GetApp(), w.GetRelease(), w.GetServing(), 0))
	if err != nil {
		return errors.Join(err, d.flipBack(dir, previous, t.Spec.GetFence()))
	}
	return d.answers(ctx, w.GetRelease(), w.GetServing())
}

// flipBack makes what was live before live again: nginx did not take the configuration of the new release.
func (d *Deployer) flipBack(dir *release.Dir, previous string, fence uint64) error {
	if err := dir.Activate(previous, fence); err != nil {
		return fmt.Errorf("go back to release %s: %w", previous, err)
	}
	return nil
}

// switchProgram points nginx at the program of the release, then the link. A program that does not run any more, after
// a revert for instance, is started first.
func (d *Deployer) switchProgram(ctx context.Context, t task.Task, dir *release.Dir, out task.Sink) error {
	w := t.Spec.GetSwitch()
	r := w.GetRelease()
	if _, ok := dir.Get(r.GetName()); !ok {
		return fault.NotFound("release %s of %s is not complete on this host", r.GetName(), w.GetApp().GetSlug()).WithFix("prepare it first")
	}
	p, err := d.program(ctx, dir, w.GetApp(), r, w.GetServing(), out)
	if err != nil {
		return err
	}
	if err := p.start(ctx, out); err != nil {
		return err
	}
	out.Phase("switch")
	if _, err := d.o.Web.Apply(ctx, d.site(dir, w.GetApp(), r, w.GetServing(), p.port)); err != nil {
		return err
	}
	if err := dir.Activate(r.GetName(), t.Spec.GetFence()); err != nil {
		return err
	}
	return d.answers(ctx, r, w.GetServing())
}

// answers asks the release through nginx, as people do.
func (d *Deployer) answers(ctx context.Context, r *agentv1.ReleaseSpec, s *agentv1.Serving) error {
	probe, err := newProbe(d.port(s), s)
	if err != nil {
		return err
	}
	if err := probe.until(ctx, 5*time.Second, func() error { return nil }); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fault.Conflict("release %s is switched to, but %s is not served: %v", r.GetName(), probe.url, err).WithCause(err)
	}
	return nil
}

func (d *Deployer) postSwitch(ctx context.Context, t task.Task, dir *release.Dir, out task.Sink) error {
	w := t.Spec.GetSwitch()
	if w.GetPostSwitch() == "" || w.GetRevert() {
		return nil
	}
	p, err := d.program(ctx, dir, w.GetApp(), w.GetRelease(), w.GetServing(), out)
	if err != nil {
		return err
	}
	return p.hook(ctx, t, out, "post_switch", w.GetPostSwitch())
}
