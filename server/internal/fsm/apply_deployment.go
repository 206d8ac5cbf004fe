package fsm

import (
	"errors"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) createDeployment(op command.CreateDeployment) error {
	a, err := c.liveApp(op.AppID)
	if err != nil {
		return err
	}
	c.about(string(op.ID), map[string]any{"app": a.Slug, "rollback": op.Rollback})
	if err := c.tenantWorks(a.TenantID); err != nil {
		return err
	}
	if err := c.mayDeploy(a); err != nil {
		return err
	}
	if err := unless(second(c.Deployment(c.ctx, op.ID)), fault.Exists("the deployment %s exists already", op.ID)); err != nil {
		return err
	}
	person, err := c.behind()
	if err != nil {
		return err
	}
	d := gestor.Deployment{
		ID:              op.ID,
		TenantID:        a.TenantID,
		AppID:           a.ID,
		State:           gestor.DeploymentBuilding,
		Rollback:        op.Rollback,
		AllowBad:        op.AllowBad,
		ReleaseID:       op.NewReleaseID,
		PreviousRelease: a.CurrentRelease,
		Nodes:           a.Settings.Nodes,
		CreatedBy:       c.actor.Name,
		CreatedAt:       c.at,
		Settings:        a.Settings,
		AskedBy:         person,
	}
	a.Status, a.ActiveDeployment = gestor.AppDeploying, d.ID
	if err := c.chooseWhat(&d, &a, op); err != nil {
		return err
	}
	if d.EnvVersion == 0 {
		d.EnvVersion = a.EnvVersion // what is new, and releases of a time without versions
	}
	return errors.Join(c.PutApp(c.ctx, a), c.PutDeployment(c.ctx, d))
}

// mayDeploy checks the app's deploy lock and nodes. A node that is draining keeps the deployment waiting, which says so.
func (c *change) mayDeploy(a gestor.App) error {
	if a.ActiveDeployment != "" {
		d, err := c.Deployment(c.ctx, a.ActiveDeployment)
		if err != nil {
			return err
		}
		busy := fault.Conflict("app %s is being deployed by %s since %s (deployment %s, %s)",
			a.Slug, d.CreatedBy, d.CreatedAt.Format(time.RFC3339), d.ID, d.State).WithFix("wait for it or cancel it")
		if d.Waiting != "" { // it may wait for days, and nothing of it is live
			return busy.WithFix("it %s; to go ahead without it: gestor deployments cancel %s", d.Waiting, d.ID)
		}
		return busy
	}
	if len(a.Settings.Nodes) == 0 {
		return fault.Conflict("app %s has no nodes", a.Slug).WithFix("give it one: gestor apps set %s --node <name>", a.Slug)
	}
	for _, id := range a.Settings.Nodes {
		none, err := absent(c.nodeOf(a.TenantID, id))
		if none {
			return fault.Conflict("app %s is to run on node %s, which was deleted", a.Slug, id).
				WithFix("change the app's nodes")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// chooseWhat settles what is deployed: a new build, a finished one, or a release.
func (c *change) chooseWhat(d *gestor.Deployment, a *gestor.App, op command.CreateDeployment) error {
	switch {
	case op.ReleaseID != "":
		return c.chooseRelease(d, a, op)
	case op.NewReleaseID == "":
		return fault.Invalid("new_release_id", "a deployment of a build needs the id of its release")
	case op.Build != nil:
		d.BuildID = op.Build.ID
		d.Phases = []gestor.Phase{{Name: phases[gestor.DeploymentBuilding], StartedAt: c.at}}
		return c.addBuild(a, *op.Build, d.ID)
	case op.BuildID != "":
		d.BuildID = op.BuildID
		return c.chooseBuild(a, op)
	}
	return fault.Invalid("build", "there is nothing to deploy: neither a build nor a release")
}

func (c *change) chooseBuild(a *gestor.App, op command.CreateDeployment) error {
	b, err := c.Build(c.ctx, op.BuildID)
	if none, err := absent(err); err != nil {
		return err
	} else if none || b.AppID != a.ID {
		return fault.NotFound("app %s has no build %s", a.Slug, op.BuildID)
	}
	if b.Status != gestor.BuildSuccess {
		return fault.Conflict("build %d of app %s cannot be deployed, it is %s", b.Number, a.Slug, b.Status)
	}
	r, err := c.ReleaseByBuild(c.ctx, b.ID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	return notBad(r, op.AllowBad)
}

func (c *change) chooseRelease(d *gestor.Deployment, a *gestor.App, op command.CreateDeployment) error {
	r, err := c.Release(c.ctx, op.ReleaseID)
	if none, err := absent(err); err != nil {
		return err
	} else if none || r.AppID != a.ID {
		return fault.NotFound("app %s has no release %s", a.Slug, op.ReleaseID)
	}
	if r.Status == gestor.ReleasePruned {
		return fault.Conflict("release %s was removed from the nodes when newer ones took its place", r.Name).
			WithFix("deploy its commit again, and pin releases that must stay")
	}
	d.ReleaseID, d.BuildID, d.EnvVersion = r.ID, r.BuildID, r.EnvVersion
	return notBad(r, op.AllowBad)
}

func notBad(r gestor.Release, allowed bool) error {
	if r.Status != gestor.ReleaseBad || allowed {
		return nil
	}
	return fault.Conflict("release %s is bad: %s", r.Name, r.Reason).WithFix("deploy it anyway with --allow-bad")
}

func (c *change) cancelDeployment(op command.CancelDeployment) error {
	d, err := c.mine().Deployment(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(d.ID), nil)
	if d.State.Ended() {
		return fault.Conflict("deployment %s has ended, it is %s", d.ID, d.State)
	}
	d.Cancelling = true
	return c.PutDeployment(c.ctx, d)
}
