package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateSession signs a user in. Session.TenantID and CreatedAt are filled in from the user and the command.
type CreateSession struct{ Session gestor.Session }

func (op CreateSession) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_CreateSession{CreateSession: &raftv1.CreateSession{
		Id:        string(op.Session.ID),
		UserId:    string(op.Session.UserID),
		TokenHash: op.Session.TokenHash,
		ExpiresAt: stamp(op.Session.ExpiresAt),

		SecondFactor: op.Session.SecondFactor,
	}}
	return nil
}

func decodeCreateSession(m *raftv1.CreateSession) CreateSession {
	return CreateSession{Session: gestor.Session{
		ID:        gestor.SessionID(m.GetId()),
		UserID:    gestor.UserID(m.GetUserId()),
		TokenHash: m.GetTokenHash(),
		ExpiresAt: moment(m.GetExpiresAt()),

		SecondFactor: m.GetSecondFactor(),
	}}
}

// DeleteSession signs out. A session that is gone already is fine.
type DeleteSession struct{ ID gestor.SessionID }

func (op DeleteSession) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DeleteSession{DeleteSession: &raftv1.DeleteSession{Id: string(op.ID)}}
	return nil
}
