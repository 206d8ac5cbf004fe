package state

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

type invitationRow struct {
	gestor.Invitation
	revision uint64
}

var invitations = newTableOf(levelPeople, Invitations, "invitations", []string{"id"}, func(i *invitationRow) []column {
	return []column{
		{"id", &i.ID},
		{"tenant_id", &i.TenantID},
		{"email", &i.Email},
		{"role", &i.Role},
		{"operator", &i.Operator},
		{"narrow_json", &i.Narrow},
		{"secret_hash", &i.SecretHash},
		{"created_at", &i.CreatedAt},
		{"expires_at", &i.ExpiresAt},
		{"invited_by", &i.InvitedBy},
		{"inviter", &i.Inviter},
		{"mailed", &i.Mailed},
		{"revision", &i.revision},
	}
})

// Invitation is an invitation, ended or not.
func (v *View) Invitation(ctx context.Context, id gestor.InvitationID) (gestor.Invitation, error) {
	i, err := one(ctx, v, invitations, "invitation", " AND id = ?", string(id))
	return i.Invitation, err
}

// InvitationByEmail is the invitation of an address to a tenant, ended or not.
func (v *View) InvitationByEmail(ctx context.Context, tenant gestor.TenantID, email string) (gestor.Invitation, error) {
	i, err := one(ctx, v, invitations, "invitation", " AND tenant_id = ? AND email = ?", string(tenant), email)
	return i.Invitation, err
}

// InvitationBySecret is the invitation of a secret, by its SHA-256, ended or not.
func (v *View) InvitationBySecret(ctx context.Context, hash []byte) (gestor.Invitation, error) {
	i, err := one(ctx, v, invitations, "invitation", " AND secret_hash = ?", hash)
	return i.Invitation, err
}

// Invitations are those of the scope, by address.
func (v *View) Invitations(ctx context.Context, page gestor.Page) ([]gestor.Invitation, string, error) {
	byEmail := order[invitationRow]{by: "email", key: func(i invitationRow) cursor { return cursor{Text: i.Email, ID: string(i.ID)} }}
	rows, next, err := list(ctx, v, invitations, byEmail, page, "")
	out := make([]gestor.Invitation, len(rows))
	for i, r := range rows {
		out[i] = r.Invitation
	}
	return out, next, err
}

// CountInvitations is how many a tenant has, ended or not.
func (x *Txn) CountInvitations(ctx context.Context, tenant gestor.TenantID) (int64, error) {
	return x.number(ctx, "SELECT count(*) FROM invitations WHERE tenant_id = ?", string(tenant))
}

// PutInvitation writes an invitation.
func (x *Txn) PutInvitation(ctx context.Context, i gestor.Invitation) error {
	return invitations.save(ctx, x, &invitationRow{i, x.Revision})
}

// DeleteInvitation removes an invitation, if it is there.
func (x *Txn) DeleteInvitation(ctx context.Context, id gestor.InvitationID) error {
	x.touch(Invitations)
	return x.exec(ctx, "DELETE FROM invitations WHERE id = ?", string(id))
}

// DeleteInvitationsBy removes the invitations that somebody made.
func (x *Txn) DeleteInvitationsBy(ctx context.Context, id string) error {
	x.touch(Invitations)
	return x.exec(ctx, "DELETE FROM invitations WHERE invited_by = ?", id)
}

// PruneInvitations removes invitations that ended before a time.
func (x *Txn) PruneInvitations(ctx context.Context, before time.Time) error {
	x.touch(Invitations)
	return x.exec(ctx, "DELETE FROM invitations WHERE expires_at < ?", nanos(before))
}
