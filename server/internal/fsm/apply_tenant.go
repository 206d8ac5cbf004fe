package fsm

import (
	"errors"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// applyTenantOp applies the ops on tenants and on what they share; it reports whether op is one.
func (c *change) applyTenantOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.CreateTenant:
		return true, c.createTenant(op)
	case command.UpdateTenant:
		return true, c.updateTenant(op)
	case command.SetTenantStatus:
		return true, c.setTenantStatus(op)
	case command.RestoreTenant:
		return true, c.restoreTenant(op)
	case command.PurgeTenant:
		return true, c.purgeTenant(op)
	case command.ShareNode:
		return true, c.shareNode(op)
	}
	return false, nil
}

// forInstallation refuses who does not act for the installation as a whole.
func (c *change) forInstallation() error {
	if c.actor.Operator || c.actor.Kind == "system" {
		return nil
	}
	return fault.Denied("only operators of this installation may do this")
}

// mayAct refuses changes by people and tokens of a tenant that is not active. The API has refused them already; this keeps
// what was on its way then, and a mistake there, from changing anything.
func (c *change) mayAct(op command.Op) error {
	person := c.actor.Kind == "user" || c.actor.Kind == "token"
	if !person || c.actor.TenantID == "" || c.actor.Operator || !c.atLeast(2) {
		return nil
	}
	t, err := c.Tenant(c.ctx, c.actor.TenantID)
	if none, err := absent(err); none || err != nil {
		return err // what belongs to a tenant is refused by whoever looks for it
	}
	if t.Status != gestor.StatusTrash && command.WhileSuspended(op) {
		return nil
	}
	if ends(op) {
		return nil
	}
	return t.MayChange()
}

// ends reports whether an op only signs people out, which is never refused.
func ends(op command.Op) bool {
	switch op.(type) {
	case command.DeleteSession, command.EndSessions:
		return true
	}
	return false
}

// tenantWorks refuses to begin new work in a tenant that is not active, whoever asks for it. What has begun goes on.
func (c *change) tenantWorks(id gestor.TenantID) error {
	if !c.atLeast(2) {
		return nil
	}
	t, err := c.Tenant(c.ctx, id)
	if none, err := absent(err); none || err != nil {
		return err
	}
	return t.MayChange()
}

// fits refuses more of a resource than a tenant may have. Whatever makes a database or stores a file asks it in its own
// command, with what the tenant uses then.
func (c *change) fits(id gestor.TenantID, r gestor.Resource, more int64) error {
	if !c.atLeast(2) {
		return nil
	}
	t, err := c.Tenant(c.ctx, id)
	if none, err := absent(err); none || err != nil {
		return err
	}
	used, err := c.UseOf(c.ctx, id)
	if err != nil {
		return err
	}
	return t.Fits(r, used.Of(r), more)
}

func (c *change) createTenant(op command.CreateTenant) error {
	t := op.Tenant
	c.tenant = t.ID
	c.about(string(t.ID), nil)
	if err := c.forInstallation(); err != nil {
		return err
	}
	if t.ID == "" {
		return fault.Invalid("tenant", "a tenant needs an id")
	}
	if err := gestor.CheckPlan("plan", t.Plan); err != nil {
		return err
	}
	if err := unless(second(c.Tenant(c.ctx, t.ID)), fault.Exists("the tenant %s exists already", t.ID)); err != nil {
		return err
	}
	t = gestor.Tenant{ID: t.ID, Name: t.Name, Plan: t.Plan, Quotas: t.Quotas, Status: gestor.StatusActive, CreatedAt: c.at}
	c.is(t)
	return c.PutTenant(c.ctx, t)
}

// itsTenant is the tenant an op is about: any for operators, and their own for its people.
func (c *change) itsTenant(id gestor.TenantID) (gestor.Tenant, error) {
	t, err := c.mine().Tenant(c.ctx, id)
	if err == nil {
		c.tenant = t.ID
	}
	return t, err
}

func (c *change) updateTenant(op command.UpdateTenant) error {
	t, err := c.itsTenant(op.ID)
	if err != nil {
		return err
	}
	c.about(string(t.ID), nil)
	c.was(t)
	if op.Plan != nil || op.Quotas != nil {
		if err := c.forInstallation(); err != nil {
			return err
		}
	}
	if err := c.overTenant(); err != nil {
		return err
	}
	if t.Status == gestor.StatusTrash {
		return fault.Conflict("the tenant %s is in the trash", t.Name).WithFix("restore it first: gestor tenants restore %s", t.ID)
	}
	if op.Plan != nil {
		if err := gestor.CheckPlan("plan", *op.Plan); err != nil {
			return err
		}
	}
	give(&t.Name, op.Name)
	give(&t.Plan, op.Plan)
	give(&t.Quotas, op.Quotas)
	give(&t.SecondFactor, op.SecondFactor)
	c.is(t)
	return c.PutTenant(c.ctx, t)
}

// overTenant refuses who is kept to some apps to decide for the tenant as a whole.
func (c *change) overTenant() error {
	if c.actor.Operator {
		return nil
	}
	by, err := c.authority()
	if err != nil {
		return err
	}
	if by.mayGive(gestor.RoleAdmin, false, gestor.Narrowing{}) != nil {
		return fault.Denied("only administrators who are not narrowed decide for the tenant as a whole")
	}
	return nil
}

// give writes a value that was given.
func give[T any](into, to *T) {
	if to != nil {
		*into = *to
	}
}

func (c *change) setTenantStatus(op command.SetTenantStatus) error {
	if err := c.forInstallation(); err != nil {
		return err
	}
	t, err := c.itsTenant(op.ID)
	if err != nil {
		return err
	}
	c.about(string(t.ID), map[string]any{"reason": op.Reason})
	c.was(t)
	c.notable()
	if err := t.CanBecome(op.Status); err != nil {
		return err
	}
	if err := c.operatorsRemain(t, op.Status); err != nil {
		return err
	}
	if op.Status == gestor.StatusTrash {
		t.Before, t.TrashedAt = t.Status, c.at // the reason stays that of the status before, which a restore brings back
	} else {
		t.Reason = op.Reason
	}
	t.Status = op.Status
	c.is(t)
	return errors.Join(c.PutTenant(c.ctx, t), c.tenantTurned(t))
}

// operatorsRemain refuses to take away the tenant in which the last operator lives who can work.
func (c *change) operatorsRemain(t gestor.Tenant, status string) error {
	if status == gestor.StatusActive {
		return nil
	}
	operators, err := c.Operators(c.ctx)
	if err != nil {
		return err
	}
	lives := false
	for _, u := range operators {
		if u.TenantID == t.ID {
			lives = true
			continue
		}
		home, err := c.Tenant(c.ctx, u.TenantID)
		if err != nil {
			return err
		}
		if home.Status == gestor.StatusActive {
			return nil
		}
	}
	if !lives {
		return nil
	}
	return fault.Conflict("the last operator of this installation belongs to the tenant %s", t.Name).
		WithFix("make somebody of another active tenant an operator first")
}

func (c *change) restoreTenant(op command.RestoreTenant) error {
	if err := c.forInstallation(); err != nil {
		return err
	}
	t, err := c.itsTenant(op.ID)
	if err != nil {
		return err
	}
	c.about(string(t.ID), nil)
	c.was(t)
	if t.Status != gestor.StatusTrash {
		return fault.Conflict("the tenant %s is not in the trash, it is %s", t.Name, t.Status)
	}
	if !c.at.Before(t.TrashedAt.Add(gestor.TrashTime)) {
		return fault.Conflict("the tenant %s was deleted more than seven days ago, its removal has begun", t.Name)
	}
	t.Status, t.Before, t.TrashedAt = t.Before, "", time.Time{}
	c.is(t)
	return c.PutTenant(c.ctx, t)
}

// purgeTenant removes what is left of a tenant when its apps are off their nodes.
func (c *change) purgeTenant(op command.PurgeTenant) error {
	if err := c.forInstallation(); err != nil {
		return err
	}
	t, err := c.itsTenant(op.ID)
	if err != nil {
		return err
	}
	c.about(string(t.ID), nil)
	c.was(t)
	c.notable()
	if t.Status != gestor.StatusTrash || c.at.Before(t.TrashedAt.Add(gestor.TrashTime)) {
		return fault.Conflict("the time of the tenant %s in the trash is not over", t.Name)
	}
	apps, err := c.AppsOf(c.ctx, t.ID)
	if err != nil {
		return err
	}
	if len(apps) > 0 {
		return fault.Conflict("the tenant %s still has %d apps", t.Name, len(apps)).WithFix("delete them first")
	}
	if err := c.leaveNodes(t); err != nil {
		return err
	}
	return c.PurgeTenant(c.ctx, t.ID)
}
