package command

import (
	"strings"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateSession signs a user in. Session.TenantID and CreatedAt are filled in from the user and the command.
type CreateSession struct {
	Session gestor.Session
	Network string // what of the address one party holds; empty where nobody looks
	Stamp   []byte // of the user when the password was checked, see gestor.User.Stamp; empty takes any
}

func (op CreateSession) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_CreateSession{CreateSession: &raftv1.CreateSession{
		Id:        string(op.Session.ID),
		UserId:    string(op.Session.UserID),
		TokenHash: op.Session.TokenHash,
		ExpiresAt: stamp(op.Session.ExpiresAt),

		SecondFactor: op.Session.SecondFactor,
		Network:      op.Network,
		PasswordMark: op.Stamp,
	}}
	return nil
}

func decodeCreateSession(m *raftv1.CreateSession) CreateSession {
	session := gestor.Session{
		ID:        gestor.SessionID(m.GetId()),
		UserID:    gestor.UserID(m.GetUserId()),
		TokenHash: m.GetTokenHash(),
		ExpiresAt: moment(m.GetExpiresAt()),

		SecondFactor: m.GetSecondFactor(),
	}
	return CreateSession{Session: session, Network: m.GetNetwork(), Stamp: m.GetPasswordMark()}
}

// DeleteSession signs out. A session that is gone already is fine.
type DeleteSession struct{ ID gestor.SessionID }

func (op DeleteSession) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DeleteSession{DeleteSession: &raftv1.DeleteSession{Id: string(op.ID)}}
	return nil
}

// SignIn signs a user in with a second factor. Session is filled in as for CreateSession.
type SignIn struct {
	Session gestor.Session
	Network string
	Stamp   []byte // of the user when the password was checked; empty if none was
	Use     gestor.FactorUse
}

func (SignIn) needs() uint32 { return levelPeople }

func (op SignIn) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_SignIn{SignIn: &raftv1.SignIn{
		Id:           string(op.Session.ID),
		UserId:       string(op.Session.UserID),
		TokenHash:    op.Session.TokenHash,
		ExpiresAt:    stamp(op.Session.ExpiresAt),
		Network:      op.Network,
		PasswordMark: op.Stamp,
		Use:          encodeUse(op.Use),
	}}
	return nil
}

func decodeSignIn(m *raftv1.SignIn) SignIn {
	return SignIn{
		Session: gestor.Session{
			ID: gestor.SessionID(m.GetId()), UserID: gestor.UserID(m.GetUserId()), TokenHash: m.GetTokenHash(), ExpiresAt: moment(m.GetExpiresAt()),
		},
		Network: m.GetNetwork(), Stamp: m.GetPasswordMark(), Use: decodeUse(m.GetUse()),
	}
}

// Reauthenticate makes a session fresh: its user has proved again who they are.
type Reauthenticate struct {
	ID    gestor.SessionID
	Stamp []byte           // of the user when the password was checked; empty if none was
	Use   gestor.FactorUse // zero for a user without a second factor
}

func (Reauthenticate) needs() uint32 { return levelPeople }

func (op Reauthenticate) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_Reauthenticate{Reauthenticate: &raftv1.Reauthenticate{
		SessionId: string(op.ID), PasswordMark: op.Stamp, Use: encodeUse(op.Use),
	}}
	return nil
}

func decodeReauthenticate(m *raftv1.Reauthenticate) Reauthenticate {
	return Reauthenticate{ID: gestor.SessionID(m.GetSessionId()), Stamp: m.GetPasswordMark(), Use: decodeUse(m.GetUse())}
}

// EndSessions ends all sessions of a user but one.
type EndSessions struct {
	UserID gestor.UserID
	Except gestor.SessionID // empty for none
}

func (EndSessions) needs() uint32 { return levelPeople }

func (op EndSessions) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_EndSessions{EndSessions: &raftv1.EndSessions{UserId: string(op.UserID), Except: string(op.Except)}}
	return nil
}

// TouchSessions notes that sessions and tokens were used. Those that are gone are left out.
type TouchSessions struct{ Touches []gestor.Touch }

func (TouchSessions) needs() uint32 { return levelPeople }

// sessionPrefix opens the id of a session; tokens have another.
const sessionPrefix = "ses_"

func (op TouchSessions) encode(m *raftv1.Command) error {
	out := &raftv1.TouchSessions{}
	for _, t := range op.Touches {
		id := string(t.Session)
		if id == "" {
			id = string(t.Token)
		}
		out.Touches = append(out.Touches, &raftv1.Touch{Id: id, At: stamp(t.At), From: t.From})
	}
	m.Op = &raftv1.Command_TouchSessions{TouchSessions: out}
	return nil
}

func decodeTouchSessions(m *raftv1.TouchSessions) TouchSessions {
	var op TouchSessions
	for _, t := range m.GetTouches() {
		touch := gestor.Touch{At: moment(t.GetAt()), From: t.GetFrom()}
		if strings.HasPrefix(t.GetId(), sessionPrefix) {
			touch.Session = gestor.SessionID(t.GetId())
		} else {
			touch.Token = gestor.TokenID(t.GetId())
		}
		op.Touches = append(op.Touches, touch)
	}
	return op
}
