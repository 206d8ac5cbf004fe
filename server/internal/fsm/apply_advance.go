package fsm

import (
	"errors"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// phases names what people see of each state that takes time.
var phases = map[gestor.DeploymentState]string{
	gestor.DeploymentBuilding:  "build",
	gestor.DeploymentPreparing: "prepare",
	gestor.DeploymentSwitching: "switch",
	gestor.DeploymentWatching:  "watch",
	gestor.DeploymentReverting: "revert",
}

func (c *change) advanceDeployment(op command.AdvanceDeployment) error {
	d, err := c.mine().Deployment(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(d.ID), map[string]any{"from": op.From, "to": op.To})
	if d.State != op.From {
		return fault.Conflict("deployment %s is %s, not %s", d.ID, d.State, op.From)
	}
	if op.From != op.To && !op.From.CanBecome(op.To) || op.From.Ended() {
		return fault.Conflict("deployment %s cannot become %s, it is %s", d.ID, op.To, d.State)
	}
	a, err := c.App(c.ctx, d.AppID)
	if err != nil {
		return err
	}
	if err := c.guardSwitch(d, a, op); err != nil {
		return err
	}
	if op.Error != "" {
		d.Error = op.Error
	}
	if op.From != op.To {
		if err := c.enter(&d, &a, op.To); err != nil {
			return err
		}
	}
	if err := errors.Join(c.PutDeployment(c.ctx, d), c.PutApp(c.ctx, a), c.deploymentTurned(d, a, op.From)); err != nil {
		return err
	}
	if err := c.stopTasks(op.CancelTasks); err != nil {
		return err
	}
	return c.addTasks(op.Tasks, gestor.Task{TenantID: d.TenantID, AppID: d.AppID, DeploymentID: d.ID})
}

// enter moves d to a state, with all that this means for its app and its release.
func (c *change) enter(d *gestor.Deployment, a *gestor.App, to gestor.DeploymentState) error {
	from := d.State
	d.State, d.Waiting = to, ""
	c.turnPhase(d)
	switch to {
	case gestor.DeploymentBuilding, gestor.DeploymentSwitching: // phases, and nothing else
	case gestor.DeploymentPreparing:
		return c.makeRelease(d)
	case gestor.DeploymentWatching:
		d.LiveAt, a.CurrentRelease = c.at, d.ReleaseID
		return c.changeRelease(d, func(r *gestor.Release) { r.LiveAt = c.at })
	case gestor.DeploymentReverting:
		a.CurrentRelease = d.PreviousRelease
		return c.condemn(d)
	case gestor.DeploymentSucceeded:
		c.end(d, a, gestor.AppActive)
		return c.changeRelease(d, func(r *gestor.Release) { r.Status, r.Reason = gestor.ReleaseGood, "" })
	case gestor.DeploymentFailed:
		c.end(d, a, gestor.AppError)
		return c.condemnUnprepared(d, from)
	case gestor.DeploymentCancelled:
		c.end(d, a, settled(*a))
	}
	return nil
}

// settled is the status of an app whose deployment left things as they were.
func settled(a gestor.App) gestor.AppStatus {
	if a.CurrentRelease == "" {
		return gestor.AppInactive
	}
	return gestor.AppActive
}

func (c *change) turnPhase(d *gestor.Deployment) {
	if n := len(d.Phases); n > 0 && d.Phases[n-1].FinishedAt.IsZero() {
		d.Phases[n-1].FinishedAt = c.at
	}
	if name := phases[d.State]; name != "" {
		d.Phases = append(d.Phases, gestor.Phase{Name: name, StartedAt: c.at})
	}
}

// end gives the deploy lock back.
func (c *change) end(d *gestor.Deployment, a *gestor.App, status gestor.AppStatus) {
	d.FinishedAt = c.at
	if a.ActiveDeployment != d.ID {
		return
	}
	a.ActiveDeployment = ""
	a.Status = status
}

// makeRelease makes the release of a build, once the build is done. Going back to a release finds it there.
func (c *change) makeRelease(d *gestor.Deployment) error {
	if none, err := absent(second(c.Release(c.ctx, d.ReleaseID))); !none || err != nil {
		return err
	}
	b, err := c.Build(c.ctx, d.BuildID)
	if err != nil {
		return err
	}
	if b.Status != gestor.BuildSuccess {
		return fault.Conflict("build %d is not done, it is %s", b.Number, b.Status)
	}
	name, err := c.releaseName(d.AppID)
	if err != nil {
		return err
	}
	return c.PutRelease(c.ctx, gestor.Release{
		ID:        d.ReleaseID,
		TenantID:  d.TenantID,
		AppID:     d.AppID,
		Name:      name,
		BuildID:   b.ID,
		Artifact:  b.Artifact,
		Status:    gestor.ReleaseNew,
		CreatedAt: c.at,
		CreatedBy: d.CreatedBy,

		EnvVersion: d.EnvVersion,
	})
}

// releaseName is the first name for this second that the app has not used.
func (c *change) releaseName(app gestor.AppID) (string, error) {
	for n := 1; ; n++ {
		name := gestor.ReleaseName(c.at, n)
		none, err := absent(second(c.ReleaseByName(c.ctx, app, name)))
		if none || err != nil {
			return name, err
		}
	}
}

func (c *change) changeRelease(d *gestor.Deployment, set func(*gestor.Release)) error {
	r, err := c.Release(c.ctx, d.ReleaseID)
	if err != nil {
		return err
	}
	set(&r)
	return c.PutRelease(c.ctx, r)
}

// condemn marks the release of a failed deployment, so that nobody goes back to it. A person's cancel says nothing
// about the release, and the release that was live before stays trusted.
func (c *change) condemn(d *gestor.Deployment) error {
	if d.Cancelling || d.ReleaseID == d.PreviousRelease {
		return nil
	}
	return c.changeRelease(d, func(r *gestor.Release) {
		r.Status, r.Reason = gestor.ReleaseBad, d.Error
	})
}

// condemnUnprepared condemns a release that an agent could not prepare, but not one whose nodes were lost.
func (c *change) condemnUnprepared(d *gestor.Deployment, from gestor.DeploymentState) error {
	if from != gestor.DeploymentPreparing {
		return nil
	}
	tasks, err := c.TasksByDeployment(c.ctx, d.ID)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if t.Kind == gestor.TaskPrepare && t.State == gestor.TaskFailed {
			return c.condemn(d)
		}
	}
	return nil
}
