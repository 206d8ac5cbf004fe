package fsm

import (
	"cmp"
	"errors"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) createInvitation(op command.CreateInvitation) error {
	i := op.Invitation
	c.about(string(i.ID), nil)
	c.is(i)
	if i.ID == "" || i.Email == "" || len(i.SecretHash) == 0 {
		return fault.Invalid("email", "an invitation needs an id, an address and a secret")
	}
	if err := c.mayInvite(i); err != nil {
		return err
	}
	if err := c.checkGrant(i.TenantID, i.Role, i.Narrow); err != nil {
		return err
	}
	if err := c.checkInvitationTime(i.ExpiresAt); err != nil {
		return err
	}
	there := fault.Exists("the invitation %s is there already", i.ID)
	if err := cmp.Or(unless(second(c.Invitation(c.ctx, i.ID)), there), unless(second(c.InvitationBySecret(c.ctx, i.SecretHash)), there)); err != nil {
		return err
	}
	if err := c.freeForInvitation(i); err != nil {
		return err
	}
	i.CreatedAt, i.InvitedBy, i.Inviter = c.at, c.inviter(), c.actor.Name
	return c.PutInvitation(c.ctx, i)
}

// mayInvite says whether the actor may give what an invitation gives, into its own tenant or, as an operator, as the first
// administrator of another.
func (c *change) mayInvite(i gestor.Invitation) error {
	if c.actor.Operator || c.actor.TenantID != i.TenantID && c.actor.Kind != "system" {
		return c.mayInviteFirst(i)
	}
	by, err := c.authority()
	if err != nil {
		return err
	}
	return by.mayGive(i.Role, i.Operator, i.Narrow)
}

// mayInviteFirst lets operators invite the administrator of a tenant that has none. It gives them no way into a tenant that
// somebody else administers.
func (c *change) mayInviteFirst(i gestor.Invitation) error {
	by, err := c.authority()
	if err != nil {
		return err
	}
	if !c.actor.Operator || !by.all && !by.operator {
		return fault.Denied("only operators of this installation may do this")
	}
	if i.Role != gestor.RoleAdmin || i.Operator || !i.Narrow.IsZero() {
		return fault.Denied("an operator invites administrators of a tenant, and nobody else")
	}
	t, err := c.Tenant(c.ctx, i.TenantID)
	if err != nil {
		return err
	}
	c.tenant = t.ID
	if t.Status == gestor.StatusTrash {
		return fault.Conflict("the tenant %s is in the trash", t.Name).WithFix("restore it first: gestor tenants restore %s", t.ID)
	}
	admins, err := c.CountFullAdmins(c.ctx, t.ID, "")
	if err != nil {
		return err
	}
	if admins > 0 {
		return fault.Conflict("the tenant %s has an administrator", t.Name).WithFix("let them invite: gestor users invite")
	}
	return nil
}

// inviter is whose invitation it is: it goes with what they have.
func (c *change) inviter() string {
	if c.actor.ID == "" {
		return string(c.actor.TokenID)
	}
	return c.actor.ID
}

func (c *change) checkInvitationTime(end time.Time) error {
	if !end.After(c.at) || end.Sub(c.at) > gestor.MostInvitationTime {
		return fault.Invalid("ttl", "an invitation can be accepted for at most %d days", int(gestor.MostInvitationTime.Hours()/24))
	}
	return nil
}

// freeForInvitation refuses an address that somebody has, in whichever tenant, in words that do not tell more than needed. An
// invitation of the tenant that has ended makes room; operators replace theirs.
func (c *change) freeForInvitation(i gestor.Invitation) error {
	taken := fault.Exists("%s cannot be invited", i.Email).WithFix("the address may be in use already; see gestor users, or invite another one")
	if err := unless(second(c.In(gestor.SystemScope()).UserByEmail(c.ctx, i.Email)), taken); err != nil {
		return err
	}
	before, err := c.InvitationByEmail(c.ctx, i.TenantID, i.Email)
	none, err := absent(err)
	if err != nil {
		return err
	}
	if !none {
		if c.at.Before(before.ExpiresAt) && !c.actor.Operator {
			return fault.Exists("%s is invited already", i.Email).WithFix("make a new link: gestor users resend %s", i.Email)
		}
		return c.DeleteInvitation(c.ctx, before.ID)
	}
	n, err := c.CountInvitations(c.ctx, i.TenantID)
	if err == nil && n >= gestor.MostInvitations {
		return fault.Exhausted("the tenant has %d open invitations, the most is %d", n, gestor.MostInvitations).
			WithFix("take some back: gestor users revoke <e-mail>")
	}
	return err
}

func (c *change) revokeInvitation(op command.RevokeInvitation) error {
	c.about(string(op.ID), nil)
	i, err := c.people().Invitation(c.ctx, op.ID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	c.was(i)
	return c.DeleteInvitation(c.ctx, i.ID)
}

func (c *change) renewInvitation(op command.RenewInvitation) error {
	c.about(string(op.ID), nil)
	i, err := c.In(gestor.SystemScope()).Invitation(c.ctx, op.ID)
	if err != nil {
		return err
	}
	if i.TenantID != c.actor.TenantID && !c.actor.Operator && c.actor.Kind != "system" {
		return fault.NotFound("there is no such invitation")
	}
	if len(op.SecretHash) == 0 {
		return fault.Invalid("secret", "an invitation needs a secret")
	}
	if err := c.mayInvite(i); err != nil {
		return err
	}
	if err := c.checkInvitationTime(op.ExpiresAt); err != nil {
		return err
	}
	if err := unless(second(c.InvitationBySecret(c.ctx, op.SecretHash)), fault.Exists("the secret is of an invitation already")); err != nil {
		return err
	}
	c.was(i)
	i.SecretHash, i.ExpiresAt, i.Mailed = op.SecretHash, op.ExpiresAt, op.Mailed
	i.InvitedBy, i.Inviter = c.inviter(), c.actor.Name
	c.is(i)
	return c.PutInvitation(c.ctx, i)
}

// acceptInvitation makes the user. Commands come one after the other, so of two with the same secret one finds it.
func (c *change) acceptInvitation(op command.AcceptInvitation) error {
	c.about(string(op.UserID), nil)
	if len(op.SecretHash) == 0 || op.UserID == "" || op.PasswordHash == "" {
		return badLink()
	}
	i, err := c.In(gestor.SystemScope()).InvitationBySecret(c.ctx, op.SecretHash)
	if none, err := absent(err); none || err == nil && !c.at.Before(i.ExpiresAt) {
		return badLink()
	} else if err != nil {
		return err
	}
	c.tenant = i.TenantID
	t, err := c.Tenant(c.ctx, i.TenantID)
	if err != nil {
		return err
	}
	if t.Status != gestor.StatusActive {
		return fault.Conflict("nobody can join %s now: the tenant is %s", t.Name, t.Status)
	}
	_, err = c.In(gestor.SystemScope()).UserByEmail(c.ctx, i.Email)
	if none, err := absent(err); err != nil {
		return err
	} else if !none {
		return badLink()
	}
	if err := unless(second(c.User(c.ctx, op.UserID)), fault.Exists("the user %s is there already", op.UserID)); err != nil {
		return err
	}
	u := gestor.User{
		ID: op.UserID, TenantID: i.TenantID, Email: i.Email, Name: op.Name, Role: i.Role, Operator: i.Operator, Narrow: i.Narrow,
		Status: gestor.StatusActive, PasswordHash: op.PasswordHash, CreatedAt: c.at, PasswordSetAt: c.at,
	}
	if i.Mailed {
		u.EmailVerifiedAt = c.at
	}
	c.is(u)
	return errors.Join(c.DeleteInvitation(c.ctx, i.ID), c.PutUser(c.ctx, u))
}

// prunePeople removes invitations and tokens that ended long ago.
func (c *change) prunePeople(op command.Prune) error {
	if !c.atLeast(2) {
		return nil
	}
	return errors.Join(c.PruneInvitations(c.ctx, op.Before), c.PruneTokens(c.ctx, op.Before))
}
