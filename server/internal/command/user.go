package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// UpdateUser changes the fields of a person that are there.
type UpdateUser struct {
	ID       gestor.UserID
	Role     *gestor.Role
	Status   *string
	Operator *bool
	Narrow   *gestor.Narrowing
	Name     *string
}

func (UpdateUser) needs() uint32 { return levelPeople }

func (op UpdateUser) encode(m *raftv1.Command) error {
	out := &raftv1.UpdateUser{Id: string(op.ID), Status: op.Status, Operator: op.Operator, Name: op.Name}
	if op.Role != nil {
		role := string(*op.Role)
		out.Role = &role
	}
	if op.Narrow != nil {
		out.Narrow = encodeNarrow(*op.Narrow)
	}
	m.Op = &raftv1.Command_UpdateUser{UpdateUser: out}
	return nil
}

func decodeUpdateUser(m *raftv1.UpdateUser) UpdateUser {
	op := UpdateUser{ID: gestor.UserID(m.GetId()), Status: m.Status, Operator: m.Operator, Name: m.Name}
	if m.Role != nil {
		role := gestor.Role(m.GetRole())
		op.Role = &role
	}
	if m.GetNarrow() != nil {
		narrow := decodeNarrow(m.GetNarrow())
		op.Narrow = &narrow
	}
	return op
}

// Apply is u with what op changes.
func (op UpdateUser) Apply(u gestor.User) gestor.User {
	if op.Role != nil {
		u.Role = *op.Role
	}
	if op.Status != nil {
		u.Status = *op.Status
	}
	if op.Operator != nil {
		u.Operator = *op.Operator
	}
	if op.Narrow != nil {
		u.Narrow = *op.Narrow
	}
	if op.Name != nil {
		u.Name = *op.Name
	}
	return u
}

// DeleteUser removes a person.
type DeleteUser struct{ ID gestor.UserID }

func (DeleteUser) needs() uint32 { return levelPeople }

func (op DeleteUser) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DeleteUser{DeleteUser: &raftv1.DeleteUser{Id: string(op.ID)}}
	return nil
}

// ResetUserPassword makes the links for a new password worthless that a person has; the next one is the only one.
type ResetUserPassword struct{ ID gestor.UserID }

func (ResetUserPassword) needs() uint32 { return levelPeople }

func (op ResetUserPassword) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ResetUserPassword{ResetUserPassword: &raftv1.ResetUserPassword{Id: string(op.ID)}}
	return nil
}

// SetPassword gives a person the password they chose and ends their sessions.
type SetPassword struct {
	UserID       gestor.UserID
	PasswordHash string
	Stamp        []byte           // gestor.User.Stamp of when they proved who they are
	KeepSession  gestor.SessionID // the session that goes on
	Mailed       bool             // the proof came out of their mailbox
}

func (SetPassword) needs() uint32   { return levelPeople }
func (SetPassword) whileSuspended() {}

func (op SetPassword) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_SetPassword{SetPassword: &raftv1.SetPassword{
		UserId: string(op.UserID), PasswordHash: op.PasswordHash, Stamp: op.Stamp, KeepSession: string(op.KeepSession), Mailed: op.Mailed,
	}}
	return nil
}

// ConfirmEmail records that an address is a person's; it becomes theirs if it is not yet.
type ConfirmEmail struct {
	UserID gestor.UserID
	Email  string
	Stamp  []byte // gestor.User.Stamp of when the link was made
}

func (ConfirmEmail) needs() uint32 { return levelPeople }

func (op ConfirmEmail) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ConfirmEmail{ConfirmEmail: &raftv1.ConfirmEmail{UserId: string(op.UserID), Email: op.Email, Stamp: op.Stamp}}
	return nil
}

// levelPeople is the level that brought all that people can be and do.
const levelPeople = 2

// decodePeopleOp reads the ops on people and invitations.
func decodePeopleOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_UpdateUser:
		return decodeUpdateUser(op.UpdateUser), true
	case *raftv1.Command_DeleteUser:
		return DeleteUser{ID: gestor.UserID(op.DeleteUser.GetId())}, true
	case *raftv1.Command_ResetUserPassword:
		return ResetUserPassword{ID: gestor.UserID(op.ResetUserPassword.GetId())}, true
	case *raftv1.Command_SetPassword:
		p := op.SetPassword
		return SetPassword{
			UserID: gestor.UserID(p.GetUserId()), PasswordHash: p.GetPasswordHash(), Stamp: p.GetStamp(),
			KeepSession: gestor.SessionID(p.GetKeepSession()), Mailed: p.GetMailed(),
		}, true
	case *raftv1.Command_ConfirmEmail:
		e := op.ConfirmEmail
		return ConfirmEmail{UserID: gestor.UserID(e.GetUserId()), Email: e.GetEmail(), Stamp: e.GetStamp()}, true
	}
	return decodeInvitationOp(m)
}

// encodeNarrow keeps a narrowing that narrows nothing apart from none.
func encodeNarrow(n gestor.Narrowing) *raftv1.PersonScope {
	return &raftv1.PersonScope{Apps: texts(n.Apps), Environments: n.Environments}
}

func decodeNarrow(m *raftv1.PersonScope) gestor.Narrowing {
	return gestor.Narrowing{Apps: ids[gestor.AppID](m.GetApps()), Environments: m.GetEnvironments()}
}
