package command

import (
	"time"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateInvitation invites a person. Invitation.CreatedAt, InvitedBy and Inviter are filled in by the state machine.
type CreateInvitation struct{ Invitation gestor.Invitation }

func (CreateInvitation) needs() uint32 { return levelPeople }

func (op CreateInvitation) encode(m *raftv1.Command) error {
	i := op.Invitation
	out := &raftv1.CreateInvitation{
		Id: string(i.ID), TenantId: string(i.TenantID), Email: i.Email, Role: string(i.Role), Operator: i.Operator,
		SecretHash: i.SecretHash, ExpiresAt: stamp(i.ExpiresAt), Mailed: i.Mailed,
	}
	if !i.Narrow.IsZero() {
		out.Narrow = encodeNarrow(i.Narrow)
	}
	m.Op = &raftv1.Command_CreateInvitation{CreateInvitation: out}
	return nil
}

func decodeCreateInvitation(m *raftv1.CreateInvitation) CreateInvitation {
	return CreateInvitation{Invitation: gestor.Invitation{
		ID: gestor.InvitationID(m.GetId()), TenantID: gestor.TenantID(m.GetTenantId()), Email: m.GetEmail(),
		Role: gestor.Role(m.GetRole()), Operator: m.GetOperator(), Narrow: decodeNarrow(m.GetNarrow()),
		SecretHash: m.GetSecretHash(), ExpiresAt: moment(m.GetExpiresAt()), Mailed: m.GetMailed(),
	}}
}

// RevokeInvitation takes an invitation back; one that is gone already is fine.
type RevokeInvitation struct{ ID gestor.InvitationID }

func (RevokeInvitation) needs() uint32 { return levelPeople }

func (op RevokeInvitation) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RevokeInvitation{RevokeInvitation: &raftv1.RevokeInvitation{Id: string(op.ID)}}
	return nil
}

// RenewInvitation gives an invitation another secret. Who does it stands behind the invitation from then on.
type RenewInvitation struct {
	ID         gestor.InvitationID
	SecretHash []byte // SHA-256
	ExpiresAt  time.Time
	Mailed     bool
}

func (RenewInvitation) needs() uint32 { return levelPeople }

func (op RenewInvitation) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RenewInvitation{RenewInvitation: &raftv1.RenewInvitation{
		Id: string(op.ID), SecretHash: op.SecretHash, ExpiresAt: stamp(op.ExpiresAt), Mailed: op.Mailed,
	}}
	return nil
}

// AcceptInvitation makes a user for whoever knows the secret, once.
type AcceptInvitation struct {
	SecretHash   []byte // SHA-256 of the secret that was shown
	UserID       gestor.UserID
	Name         string
	PasswordHash string
}

func (AcceptInvitation) needs() uint32 { return levelPeople }

func (op AcceptInvitation) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_AcceptInvitation{AcceptInvitation: &raftv1.AcceptInvitation{
		SecretHash: op.SecretHash, UserId: string(op.UserID), Name: op.Name, PasswordHash: op.PasswordHash,
	}}
	return nil
}

// decodeInvitationOp reads the ops on invitations.
func decodeInvitationOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_CreateInvitation:
		return decodeCreateInvitation(op.CreateInvitation), true
	case *raftv1.Command_RevokeInvitation:
		return RevokeInvitation{ID: gestor.InvitationID(op.RevokeInvitation.GetId())}, true
	case *raftv1.Command_RenewInvitation:
		r := op.RenewInvitation
		return RenewInvitation{
			ID: gestor.InvitationID(r.GetId()), SecretHash: r.GetSecretHash(), ExpiresAt: moment(r.GetExpiresAt()), Mailed: r.GetMailed(),
		}, true
	case *raftv1.Command_AcceptInvitation:
		a := op.AcceptInvitation
		return AcceptInvitation{
			SecretHash: a.GetSecretHash(), UserID: gestor.UserID(a.GetUserId()), Name: a.GetName(), PasswordHash: a.GetPasswordHash(),
		}, true
	}
	return nil, false
}
