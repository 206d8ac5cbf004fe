package fsm

import (
	"crypto/subtle"
	"errors"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// applyPeopleOp applies the ops on people and invitations; it reports whether op is one.
func (c *change) applyPeopleOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.UpdateUser:
		return true, c.updateUser(op)
	case command.DeleteUser:
		return true, c.deleteUser(op)
	case command.ResetUserPassword:
		return true, c.resetUserPassword(op)
	case command.SetPassword:
		return true, c.setPassword(op)
	case command.ConfirmEmail:
		return true, c.confirmEmail(op)
	case command.CreateInvitation:
		return true, c.createInvitation(op)
	case command.RevokeInvitation:
		return true, c.revokeInvitation(op)
	case command.RenewInvitation:
		return true, c.renewInvitation(op)
	case command.AcceptInvitation:
		return true, c.acceptInvitation(op)
	}
	return false, nil
}

// people reads what the actor may touch of people: those of its tenant, for operators too, or everybody for the system.
func (c *change) people() *state.View {
	if c.actor.Kind == "system" {
		return c.In(gestor.SystemScope())
	}
	return c.In(gestor.TenantScope(c.actor.TenantID))
}

func (c *change) updateUser(op command.UpdateUser) error {
	c.about(string(op.ID), nil)
	before, err := c.people().User(c.ctx, op.ID)
	if err != nil {
		return err
	}
	after := op.Apply(before)
	c.was(before)
	c.is(after)
	if onlyName(op) && c.actor.ID == string(op.ID) {
		return c.PutUser(c.ctx, after)
	}
	if err := c.mayChange(before, after); err != nil {
		return err
	}
	if err := c.keepsManagers(before, after); err != nil {
		return err
	}
	if err := errors.Join(c.PutUser(c.ctx, after), c.userTurned(before, after)); err != nil {
		return err
	}
	return c.endWhatShrank(before, after)
}

func onlyName(op command.UpdateUser) bool {
	return op.Role == nil && op.Status == nil && op.Operator == nil && op.Narrow == nil
}

// mayChange refuses what makes no user, and who does not have all that the person has and will have: otherwise one could
// lock out, or take over, who has more than oneself.
func (c *change) mayChange(before, after gestor.User) error {
	if err := c.checkGrant(after.TenantID, after.Role, after.Narrow); err != nil {
		return err
	}
	if !slices.Contains([]string{gestor.StatusActive, gestor.StatusInactive, gestor.StatusBlocked}, after.Status) {
		return fault.Invalid("status", "%q is no status of a user", after.Status)
	}
	by, err := c.authority()
	if err != nil {
		return err
	}
	if err := by.over(before); err != nil {
		return err
	}
	return by.mayGive(after.Role, after.Operator, after.Narrow)
}

// checkGrant refuses a role that is none, and a narrowing to what the tenant does not have.
func (c *change) checkGrant(tenant gestor.TenantID, role gestor.Role, n gestor.Narrowing) error {
	if !role.IsKnown() {
		return fault.Invalid("role", "%q is no role", role)
	}
	for _, id := range n.Apps {
		_, err := c.In(gestor.TenantScope(tenant)).App(c.ctx, id)
		if none, err := absent(err); none {
			return fault.Invalid("narrow.apps", "there is no app %s", id).WithFix("see `gestor apps`")
		} else if err != nil {
			return err
		}
	}
	for _, e := range n.Environments {
		if !slices.Contains([]string{gestor.EnvironmentDevelopment, gestor.EnvironmentStaging, gestor.EnvironmentProduction}, e) {
			return fault.Invalid("narrow.environments", "%q is no environment", e)
		}
	}
	return nil
}

// keepsManagers refuses to take the last administrator from a tenant and the last operator from the installation.
func (c *change) keepsManagers(before, after gestor.User) error {
	if before.IsFullAdmin() && !after.IsFullAdmin() {
		others, err := c.CountFullAdmins(c.ctx, before.TenantID, before.ID)
		if err != nil {
			return err
		}
		if others == 0 {
			return fault.Conflict("%s is the last active administrator of the tenant who is not narrowed", before.Email).
				WithFix("make somebody else one first: gestor users role <user> admin")
		}
	}
	if before.IsActiveOperator() && !after.IsActiveOperator() {
		others, err := c.CountOperators(c.ctx, before.ID)
		if err != nil {
			return err
		}
		if others == 0 {
			return fault.Conflict("%s is the last active operator of this installation", before.Email).
				WithFix("make somebody else one first: gestor users role <user> --operator")
		}
	}
	return nil
}

// endWhatShrank ends what a person could do with what they had: sessions and tokens of who may not sign in any more, and
// invitations of who has less than when they made them.
func (c *change) endWhatShrank(before, after gestor.User) error {
	if after.Status != gestor.StatusActive {
		if err := c.EndAccess(c.ctx, after.ID); err != nil {
			return err
		}
	}
	had, has := authorityOf(before), authorityOf(after)
	if after.Status == gestor.StatusActive && has.mayGive(had.role, had.operator, before.Narrow) == nil {
		return nil
	}
	return c.DeleteInvitationsBy(c.ctx, string(after.ID))
}

func (c *change) deleteUser(op command.DeleteUser) error {
	c.about(string(op.ID), nil)
	u, err := c.people().User(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.was(u)
	by, err := c.authority()
	if err != nil {
		return err
	}
	if err := by.over(u); err != nil {
		return err
	}
	if err := c.keepsManagers(u, gestor.User{}); err != nil {
		return err
	}
	return errors.Join(c.DeleteInvitationsBy(c.ctx, string(u.ID)), c.DeleteUser(c.ctx, u.ID))
}

func (c *change) resetUserPassword(op command.ResetUserPassword) error {
	c.about(string(op.ID), nil)
	u, err := c.people().User(c.ctx, op.ID)
	if err != nil {
		return err
	}
	by, err := c.authority()
	if err != nil {
		return err
	}
	if err := by.over(u); err != nil {
		return err
	}
	if u.Status != gestor.StatusActive {
		return fault.Conflict("%s is %s and cannot sign in", u.Email, u.Status).WithFix("let them in first: gestor users unblock %s", u.Email)
	}
	u.ResetAt = c.at
	return c.PutUser(c.ctx, u)
}

// badLink is one message for every link that is not good, so that it tells nothing.
func badLink() error {
	return fault.Unauthenticated("the link is not valid any more").WithFix("ask for a new one")
}

// stamped is the active person whose credentials are still what they were when they proved who they are.
func (c *change) stamped(id gestor.UserID, stamp []byte) (gestor.User, error) {
	u, err := c.In(gestor.SystemScope()).User(c.ctx, id)
	if none, err := absent(err); none {
		return u, badLink()
	} else if err != nil {
		return u, err
	}
	if u.Status != gestor.StatusActive || subtle.ConstantTimeCompare(u.Stamp(), stamp) != 1 {
		return u, badLink()
	}
	c.tenant = u.TenantID
	return u, nil
}

func (c *change) setPassword(op command.SetPassword) error {
	c.about(string(op.UserID), nil)
	u, err := c.stamped(op.UserID, op.Stamp)
	if err != nil {
		return err
	}
	if op.PasswordHash == "" {
		return fault.Invalid("password", "it is empty")
	}
	c.about(string(u.ID), map[string]any{"email": u.Email})
	u.PasswordHash, u.PasswordSetAt = op.PasswordHash, c.at
	if op.Mailed {
		u.EmailVerifiedAt = c.at
	}
	return errors.Join(c.PutUser(c.ctx, u), c.EndSessions(c.ctx, u.ID, op.KeepSession))
}

func (c *change) confirmEmail(op command.ConfirmEmail) error {
	c.about(string(op.UserID), nil)
	u, err := c.stamped(op.UserID, op.Stamp)
	if err != nil {
		return err
	}
	c.was(u)
	if op.Email != u.Email {
		taken := fault.Exists("%s cannot be your address", op.Email).WithFix("use another one")
		if err := unless(second(c.In(gestor.SystemScope()).UserByEmail(c.ctx, op.Email)), taken); err != nil {
			return err
		}
	}
	u.Email, u.EmailVerifiedAt = op.Email, c.at
	c.is(u)
	return c.PutUser(c.ctx, u)
}
