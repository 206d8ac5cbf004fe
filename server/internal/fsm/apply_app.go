package fsm

import (
	"errors"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) createApp(op command.CreateApp) error {
	a := op.App
	c.about(string(a.ID), map[string]any{"app": a.Slug})
	if a.TenantID = c.actor.TenantID; a.TenantID == "" {
		return fault.Invalid("tenant", "an app belongs to a tenant")
	}
	if err := unless(second(c.AppBySlug(c.ctx, a.Slug)), fault.Exists("the name %s is taken", a.Slug).WithFix("choose another slug")); err != nil {
		return err
	}
	if err := unless(second(c.App(c.ctx, a.ID)), fault.Exists("the app %s exists already", a.ID)); err != nil {
		return err
	}
	if err := c.settingsFit(a); err != nil {
		return err
	}
	if err := c.fits(a.TenantID, gestor.ResourceApps, 1); err != nil {
		return err
	}
	var err error
	if a.UID, err = c.TakeUID(c.ctx); err != nil {
		return err
	}
	a.Status, a.CreatedAt, a.UpdatedAt = gestor.AppInactive, c.at, c.at
	a.CurrentRelease, a.ActiveDeployment, a.LastBuild, a.EnvVersion = "", "", 0, 0
	if c.atLeast(2) {
		a.EnvVersion = 1 // without variables
		if err := errors.Join(c.sealedFits(a.DeployKeySealed), c.putEnvVersion(a, 0)); err != nil {
			return err
		}
	}
	c.is(a)
	return errors.Join(c.PutApp(c.ctx, a), c.PutAppNodes(c.ctx, a))
}

// settingsFit checks an app's settings against the rest of the state: its nodes exist and no other app answers there.
func (c *change) settingsFit(a gestor.App) error {
	for _, id := range a.Settings.Nodes {
		node, err := c.In(gestor.TenantScope(a.TenantID)).Node(c.ctx, id)
		if none, err := absent(err); none {
			return fault.Invalid("settings.nodes", "there is no node %s", id).WithFix("see gestor nodes list")
		} else if err != nil {
			return err
		}
		if err := c.addressIsFree(a, node); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) addressIsFree(a gestor.App, node gestor.Node) error {
	others, err := c.appsOn(node)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.ID == a.ID {
			continue
		}
		domain, clash := clashes(a.Settings, o.Settings)
		if clash = clash && slices.Contains(o.Settings.Nodes, node.ID); !clash {
			if domain, clash, err = c.liveClash(a, o); err != nil {
				return err
			}
		}
		if !clash {
			continue
		}
		name := "another app"
		if o.TenantID == a.TenantID {
			name = "app " + o.Slug
		}
		return fault.Conflict("%s already answers %s on node %s", name, domain, node.Name).
			WithFix("give one of them another port or another domain")
	}
	return nil
}

// appsOn are the apps that are to be on a node, and those that still are.
func (c *change) appsOn(node gestor.Node) ([]gestor.App, error) {
	if !c.atLeast(levelPeople) {
		return c.AppsByNode(c.ctx, node.ID)
	}
	return c.AppsUsing(c.ctx, node.ID)
}

// liveClash is clashes with what an app answers until its next deployment, if that is in another environment, which is
// protected. Otherwise one could change the settings of a protected app, and take its place with an app that is not.
func (c *change) liveClash(a, o gestor.App) (what string, clash bool, err error) {
	if !c.atLeast(levelPeople) || o.CurrentRelease == "" {
		return "", false, nil
	}
	live, err := c.LastSuccess(c.ctx, o.ID, o.CurrentRelease, "")
	if none, err := absent(err); none || err != nil {
		return "", false, err
	}
	environment := live.Settings.WithDefaults().Environment
	if o.TenantID == a.TenantID && environment == a.Settings.WithDefaults().Environment {
		return "", false, nil
	}
	p, err := c.Protection(c.ctx, o.TenantID, environment)
	if err != nil || p.IsZero() {
		return "", false, err
	}
	what, clash = clashes(a.Settings, live.Settings)
	return what, clash, nil
}

// clashes reports whether two apps on one node would answer the same requests, and which.
func clashes(a, b gestor.AppSettings) (what string, clash bool) {
	if a.Port != b.Port {
		return "", false
	}
	if len(a.Domains) == 0 && len(b.Domains) == 0 {
		return "all requests on the port", true
	}
	for _, d := range a.Domains {
		if slices.Contains(b.Domains, d) {
			return d, true
		}
	}
	return "", false
}

// liveApp is an app that is not being deleted.
func (c *change) liveApp(id gestor.AppID) (gestor.App, error) {
	a, err := c.mine().App(c.ctx, id)
	if err == nil && a.Status == gestor.AppDeleting {
		err = fault.Conflict("app %s is being deleted", a.Slug)
	}
	return a, err
}

func (c *change) updateApp(op command.UpdateApp) error {
	a, err := c.liveApp(op.ID)
	if err != nil {
		return err
	}
	c.about(string(a.ID), map[string]any{"app": a.Slug})
	if op.ExpectedRevision != 0 && op.ExpectedRevision != a.Revision {
		return fault.Conflict("app %s was changed meanwhile", a.Slug).WithFix("look at it again and repeat your change")
	}
	if err := c.mayMove(a, op); err != nil {
		return err
	}
	c.was(a)
	a.Settings, a.UpdatedAt = op.Settings, c.at
	c.is(a)
	if err := c.settingsFit(a); err != nil {
		return err
	}
	return errors.Join(c.PutApp(c.ctx, a), c.PutAppNodes(c.ctx, a))
}

func (c *change) deleteApp(op command.DeleteApp) error {
	a, err := c.liveApp(op.ID)
	if err != nil {
		return err
	}
	c.about(string(a.ID), map[string]any{"app": a.Slug})
	if a.ActiveDeployment != "" {
		return fault.Conflict("app %s is being deployed (deployment %s)", a.Slug, a.ActiveDeployment).
			WithFix("wait for it or cancel it first")
	}
	c.was(a)
	a.Status, a.UpdatedAt = gestor.AppDeleting, c.at
	if err := c.PutApp(c.ctx, a); err != nil {
		return err
	}
	if err := c.cancelAll(a.ID); err != nil {
		return err
	}
	return c.addTasks(op.Tasks, gestor.Task{TenantID: a.TenantID, AppID: a.ID})
}

// cancelAll asks all work for an app to stop.
func (c *change) cancelAll(app gestor.AppID) error {
	active, err := c.ActiveTasks(c.ctx, app)
	if err != nil {
		return err
	}
	for _, t := range active {
		if err := c.stopTask(t); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) forgetApp(op command.ForgetApp) error {
	a, err := c.mine().App(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(a.ID), map[string]any{"app": a.Slug})
	if a.Status != gestor.AppDeleting {
		return fault.Conflict("app %s is not being deleted", a.Slug).WithFix("delete it first")
	}
	active, err := c.ActiveTasks(c.ctx, a.ID)
	if err != nil {
		return err
	}
	if len(active) > 0 {
		return fault.Conflict("app %s still has %d tasks under way", a.Slug, len(active))
	}
	return c.DeleteApp(c.ctx, a.ID)
}
