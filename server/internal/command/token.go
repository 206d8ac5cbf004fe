package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateToken makes a token. Token.TenantID, UserID and CreatedAt are filled in from the actor and the command.
type CreateToken struct{ Token gestor.Token }

func (CreateToken) needs() uint32 { return 2 }

func (op CreateToken) encode(m *raftv1.Command) error {
	t := op.Token
	m.Op = &raftv1.Command_CreateToken{CreateToken: &raftv1.CreateToken{
		Id:           string(t.ID),
		Kind:         string(t.Kind),
		Name:         t.Name,
		UserId:       string(t.UserID),
		Role:         string(t.Role),
		Permissions:  t.Permissions,
		Apps:         texts(t.Narrow.Apps),
		Environments: t.Narrow.Environments,
		Hash:         t.Hash,
		ExpiresAt:    stamp(t.ExpiresAt),
	}}
	return nil
}

func decodeCreateToken(m *raftv1.CreateToken) CreateToken {
	return CreateToken{Token: gestor.Token{
		ID:          gestor.TokenID(m.GetId()),
		Kind:        gestor.TokenKind(m.GetKind()),
		Name:        m.GetName(),
		UserID:      gestor.UserID(m.GetUserId()),
		Role:        gestor.Role(m.GetRole()),
		Permissions: m.GetPermissions(),
		Narrow:      gestor.Narrowing{Apps: ids[gestor.AppID](m.GetApps()), Environments: m.GetEnvironments()},
		Hash:        m.GetHash(),
		ExpiresAt:   moment(m.GetExpiresAt()),
	}}
}

// DeleteToken takes a token back. One that is gone already is fine.
type DeleteToken struct{ ID gestor.TokenID }

func (DeleteToken) needs() uint32 { return 2 }

func (op DeleteToken) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DeleteToken{DeleteToken: &raftv1.DeleteToken{Id: string(op.ID)}}
	return nil
}

func decodeTokenOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_CreateToken:
		return decodeCreateToken(op.CreateToken), true
	case *raftv1.Command_DeleteToken:
		return DeleteToken{ID: gestor.TokenID(op.DeleteToken.GetId())}, true
	}
	return nil, false
}
