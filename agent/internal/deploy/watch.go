package deploy

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/process"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// failuresInARow that a live release may not reach.
const failuresInARow = 3

// watch asks a live release for its health again and again, through nginx. A program that ends meanwhile fails it too.
func (d *Deployer) watch(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	w := t.Spec.GetWatch()
	dir, err := d.open(w.GetApp())
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // only a handle
	probe, err := newProbe(d.port(w.GetServing()), w.GetServing())
	if err != nil {
		return nil, err
	}
	out.Phase("watch")
	err = d.watchFor(ctx, w, probe, out)
	if err == nil {
		return &agentv1.TaskResult{}, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	lines := ""
	if w.GetRelease().GetKind() == gestorv1.AppKind_APP_KIND_PROCESS {
		lines = lastLines(process.TailLog(dir.LogPath(), 20))
	}
	return nil, fault.Conflict("release %s does not stay healthy: %v%s", w.GetRelease().GetName(), err, lines).WithCause(err)
}

func (d *Deployer) watchFor(ctx context.Context, w *agentv1.WatchWork, probe *probe, out task.Sink) error {
	most := w.GetDuration().AsDuration()
	every := min(max(most/20, 500*time.Millisecond), 2*time.Second)
	began, failures := time.Now(), 0
	restarts, err := d.restarts(ctx, w)
	if err != nil {
		return err
	}
	for {
		err := probe.once(ctx)
		if err == nil {
			failures = 0
		} else {
			failures++
			out.Logf("health check failed (%d of %d): %v", failures, failuresInARow, err)
		}
		if failures == failuresInARow {
			return err
		}
		now, statusErr := d.restarts(ctx, w)
		if statusErr != nil {
			return statusErr
		}
		if now > restarts {
			return fault.Conflict("the program ended and was started again")
		}
		if time.Since(began) >= most && failures == 0 {
			return nil
		}
		if !pause(ctx, every) {
			return context.Cause(ctx)
		}
	}
}

// restarts counts how often the program of the release was started again; an error if it does not run.
func (d *Deployer) restarts(ctx context.Context, w *agentv1.WatchWork) (int, error) {
	if w.GetRelease().GetKind() != gestorv1.AppKind_APP_KIND_PROCESS {
		return 0, nil
	}
	st, err := d.o.Supervisor.Status(ctx, unitName(w.GetApp(), w.GetRelease().GetName()))
	if err != nil {
		return 0, err
	}
	if !st.Running {
		return 0, fault.Conflict("the program ended with %s", st.LastExit)
	}
	return st.Restarts, nil
}
