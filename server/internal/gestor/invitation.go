package gestor

import "time"

// InvitationID names an invitation.
type InvitationID string

// Invitation lets one person in, once.
type Invitation struct {
	ID         InvitationID
	TenantID   TenantID
	Email      string // whose it is, in the form of CheckEmail
	Role       Role
	Operator   bool
	Narrow     Narrowing
	SecretHash []byte // SHA-256 of the link's secret
	CreatedAt  time.Time
	ExpiresAt  time.Time
	InvitedBy  string // id of who made it: a user, or a token that is a tenant's own
	Inviter    string // how lists show them
	Mailed     bool   // the link went to the address and nowhere else: whoever has it has read that mailbox
}

// How long invitations can be accepted.
const (
	InvitationTime     = 7 * 24 * time.Hour // if nothing is said
	MostInvitationTime = 30 * 24 * time.Hour
)

// MostInvitations is how many a tenant may have open at a time.
const MostInvitations = 200

// Audited shows who is invited to be what.
func (i Invitation) Audited() map[string]any {
	shown := map[string]any{
		"email": i.Email, "role": string(i.Role), "operator": i.Operator, "expires_at": shownTime(i.ExpiresAt),
		"mailed": i.Mailed, "secret": masked(len(i.SecretHash) > 0),
	}
	i.Narrow.show(shown)
	return shown
}
