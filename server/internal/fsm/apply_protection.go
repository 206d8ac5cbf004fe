package fsm

import (
	"errors"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/protect"
)

// levelPeople is the level from which environments can be protected.
const levelPeople = 2

// applyProtectionOp applies the ops on what deployments need before their switch; it reports whether op is one.
func (c *change) applyProtectionOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.UpdateProtection:
		return true, c.updateProtection(op)
	case command.HoldDeployment:
		return true, c.holdDeployment(op)
	case command.ApproveDeployment:
		return true, c.approveDeployment(op)
	case command.RejectDeployment:
		return true, c.rejectDeployment(op)
	case command.OverrideFreeze:
		return true, c.overrideFreeze(op)
	}
	return false, nil
}

func (c *change) updateProtection(op command.UpdateProtection) error {
	p := op.Protection
	c.about(p.Environment, nil)
	if p.TenantID = c.actor.TenantID; p.TenantID == "" {
		return fault.Invalid("tenant", "a protection belongs to a tenant")
	}
	if err := c.overEnvironment(p.Environment); err != nil {
		return err
	}
	before, err := c.Protection(c.ctx, p.TenantID, p.Environment)
	if err != nil {
		return err
	}
	if op.ExpectedRevision != 0 && op.ExpectedRevision != before.Revision {
		return fault.Conflict("the protection of %s was changed meanwhile", p.Environment).WithFix("look at it again and repeat your change")
	}
	c.was(before)
	c.is(p)
	p.UpdatedBy, p.UpdatedAt = c.actor.Name, c.at
	return c.PutProtection(c.ctx, p)
}

// overEnvironment refuses who does not see all apps of an environment to say what its deployments need.
func (c *change) overEnvironment(name string) error {
	by, err := c.authority()
	if err != nil {
		return err
	}
	for _, own := range by.narrow {
		if !own.Covers(gestor.Narrowing{Environments: []string{name}}) {
			return fault.Denied("the protection of %s is for all apps there, and you see only some", name).WithFix("ask an admin of your tenant who sees all")
		}
	}
	return nil
}

// holdDeployment records why a deployment waits. The time from which approvals are waited for is that of the first such
// reason after one that was none.
func (c *change) holdDeployment(op command.HoldDeployment) error {
	d, err := c.mine().Deployment(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(d.ID), nil)
	if d.State != gestor.DeploymentPreparing || d.Cancelling {
		return fault.Conflict("deployment %s is not about to switch, it is %s", d.ID, d.State)
	}
	asks := op.Approval && d.ApprovalAskedAt.IsZero()
	switch {
	case asks:
		d.ApprovalAskedAt = c.at
	case !op.Approval:
		d.ApprovalAskedAt = gestor.Deployment{}.ApprovalAskedAt
	}
	d.Waiting = op.Waiting
	if asks {
		if err := c.deploymentWaits(d); err != nil {
			return err
		}
	}
	return c.PutDeployment(c.ctx, d)
}

func (c *change) approveDeployment(op command.ApproveDeployment) error {
	d, a, err := c.deploymentWithApp(op.ID)
	if err != nil {
		return err
	}
	c.about(string(d.ID), map[string]any{"app": a.Slug, "comment": op.Comment})
	person, err := c.person()
	if err != nil {
		return err
	}
	if err := protect.MayApprove(d, a, person); err != nil {
		return err
	}
	k, err := protect.Read(c.ctx, &c.View, d, a)
	if err != nil || slices.ContainsFunc(k.Approvals, func(a gestor.Approval) bool { return a.UserID == person.ID }) {
		return err
	}
	if err := approvable(d, k); err != nil {
		return err
	}
	given := gestor.Approval{
		DeploymentID: d.ID, UserID: person.ID, TenantID: d.TenantID, AppID: d.AppID, Name: person.Email,
		TokenID: c.actor.TokenID, At: c.at, Comment: op.Comment, What: k.What,
	}
	return errors.Join(c.PutApproval(c.ctx, given), c.PutDeployment(c.ctx, d))
}

// approvable says why there is nothing to approve; nil if there is.
func approvable(d gestor.Deployment, k protect.Case) error {
	switch {
	case d.State.Ended():
		return fault.Conflict("deployment %s has ended, it is %s", d.ID, d.State)
	case d.Cancelling:
		return fault.Conflict("deployment %s is being cancelled", d.ID)
	case d.State == gestor.DeploymentBuilding:
		return fault.Conflict("deployment %s is still being built, so what is to be approved is not there yet", d.ID).
			WithFix("approve it when the build is done")
	case d.State != gestor.DeploymentPreparing:
		return fault.Conflict("deployment %s needs no approval any more, it is %s", d.ID, d.State)
	case k.Needed() == 0:
		return fault.Conflict("deployment %s needs no approval", d.ID)
	}
	return nil
}

func (c *change) rejectDeployment(op command.RejectDeployment) error {
	d, a, err := c.deploymentWithApp(op.ID)
	if err != nil {
		return err
	}
	c.about(string(d.ID), map[string]any{"app": a.Slug, "comment": op.Comment})
	if d.Cancelling {
		return nil
	}
	if err := beforeSwitch(d); err != nil {
		return err
	}
	d.Cancelling, d.Error = true, "rejected by "+c.actor.Name
	if op.Comment != "" {
		d.Error += ": " + op.Comment
	}
	return c.PutDeployment(c.ctx, d)
}

func (c *change) overrideFreeze(op command.OverrideFreeze) error {
	d, a, err := c.deploymentWithApp(op.ID)
	if err != nil {
		return err
	}
	c.about(string(d.ID), map[string]any{"app": a.Slug, "reason": op.Reason})
	if d.Override.By != "" {
		return nil
	}
	if err := beforeSwitch(d); err != nil {
		return err
	}
	person, err := c.behind()
	if err != nil {
		return err
	}
	d.Override = gestor.Override{UserID: person, By: c.actor.Name, Reason: op.Reason, At: c.at}
	return c.PutDeployment(c.ctx, d)
}

func beforeSwitch(d gestor.Deployment) error {
	switch {
	case d.State.Ended():
		return fault.Conflict("deployment %s has ended, it is %s", d.ID, d.State)
	case d.State != gestor.DeploymentBuilding && d.State != gestor.DeploymentPreparing:
		return fault.Conflict("deployment %s does not wait any more, it is %s", d.ID, d.State).
			WithFix("to stop it: gestor deployments cancel %s", d.ID)
	}
	return nil
}

func (c *change) deploymentWithApp(id gestor.DeploymentID) (gestor.Deployment, gestor.App, error) {
	d, err := c.mine().Deployment(c.ctx, id)
	if err != nil {
		return d, gestor.App{}, err
	}
	a, err := c.mine().App(c.ctx, d.AppID)
	return d, a, err
}

// behind is the person behind the actor: of a token, whoever made it. It is empty for the system, and in old states.
func (c *change) behind() (gestor.UserID, error) {
	if !c.atLeast(levelPeople) {
		return "", nil
	}
	if c.actor.TokenID == "" {
		if c.actor.Kind == "user" {
			return gestor.UserID(c.actor.ID), nil
		}
		return "", nil
	}
	t, err := c.Token(c.ctx, c.actor.TokenID)
	if none, err := absent(err); none || err != nil {
		if none {
			err = fault.Unauthenticated("the token %s was revoked", c.actor.TokenID)
		}
		return "", err
	}
	return t.UserID, nil
}

// person is the user behind the actor.
func (c *change) person() (gestor.User, error) {
	id, err := c.behind()
	if err != nil {
		return gestor.User{}, err
	}
	u, err := c.mine().User(c.ctx, id)
	if none, err := absent(err); none {
		return u, fault.Denied("nobody is known to stand behind %s", c.actor.Name).WithFix("sign in yourself")
	} else if err != nil {
		return u, err
	}
	return u, nil
}

// maySwitch refuses a switch that the protection of its environment does not allow. Whether approvals are there is judged
// anew; freezes need a clock's time zone, which is not the same on every server, so it is checked that they were judged by
// the protections of now, and for this time.
func (c *change) maySwitch(d gestor.Deployment, a gestor.App, op command.AdvanceDeployment) error {
	k, err := protect.Read(c.ctx, &c.View, d, a)
	if err != nil {
		return err
	}
	if missing := k.Missing(); missing > 0 {
		return fault.Conflict("deployment %s has %d of %d approvals", d.ID, len(k.Approvals), k.Needed())
	}
	if op.JudgedBy != k.JudgedBy() {
		return fault.Conflict("the protection of deployment %s was changed meanwhile", d.ID)
	}
	if !op.ClearUntil.IsZero() && !c.at.Before(op.ClearUntil) {
		return fault.Conflict("a freeze has begun before deployment %s could switch", d.ID)
	}
	return nil
}

// guardSwitch keeps every task that switches from a deployment that has not been allowed to.
func (c *change) guardSwitch(d gestor.Deployment, a gestor.App, op command.AdvanceDeployment) error {
	if !c.atLeast(levelPeople) {
		return nil
	}
	if op.From == gestor.DeploymentPreparing && op.To == gestor.DeploymentSwitching {
		return c.maySwitch(d, a, op)
	}
	if err := c.guardPrepare(d, a, op); err != nil {
		return err
	}
	early := op.To == gestor.DeploymentBuilding || op.To == gestor.DeploymentPreparing
	switches := func(t command.CreateTask) bool { return t.Task.Kind == gestor.TaskSwitch }
	if early && slices.ContainsFunc(op.Tasks, switches) {
		return fault.Conflict("deployment %s cannot switch while it is %s", d.ID, op.To)
	}
	return nil
}

// guardPrepare keeps what is not approved from running while a host is prepared for it.
func (c *change) guardPrepare(d gestor.Deployment, a gestor.App, op command.AdvanceDeployment) error {
	if !slices.ContainsFunc(op.Tasks, func(t command.CreateTask) bool { return t.Task.Kind == gestor.TaskPrepare }) {
		return nil
	}
	r, err := c.Release(c.ctx, d.ReleaseID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	if !protect.Early(d, r) {
		return nil
	}
	k, err := protect.Read(c.ctx, &c.View, d, a)
	if err != nil {
		return err
	}
	if missing := k.Missing(); missing > 0 {
		return fault.Conflict("deployment %s has %d of %d approvals, and preparing it runs it", d.ID, len(k.Approvals), k.Needed())
	}
	return nil
}

// mayMove refuses to take an app out of a protected environment, where its deployments would need nothing, to those who
// could not lift the protection.
func (c *change) mayMove(a gestor.App, op command.UpdateApp) error {
	if !c.atLeast(levelPeople) || op.MayUnprotect {
		return nil
	}
	from, to := a.Settings.WithDefaults().Environment, op.Settings.WithDefaults().Environment
	if from == to {
		return nil
	}
	p, err := c.Protection(c.ctx, a.TenantID, from)
	if err != nil || p.IsZero() {
		return err
	}
	return fault.Denied("%s is protected, so app %s cannot be moved to %s by everybody", from, a.Slug, to).
		WithFix("ask an admin of your tenant")
}
