package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// AddFactor gives a user a second factor. Factor.TenantID, CreatedAt and SeenAt are filled in by the state machine. An app
// takes the place of an earlier one.
type AddFactor struct {
	Factor   gestor.Factor
	Recovery [][]byte // SHA-256 of recovery codes; empty leaves those there are
}

func (AddFactor) needs() uint32 { return levelPeople }

func (op AddFactor) encode(m *raftv1.Command) error {
	f := op.Factor
	m.Op = &raftv1.Command_AddFactor{AddFactor: &raftv1.AddFactor{
		Id: string(f.ID), UserId: string(f.UserID), Kind: string(f.Kind), Name: f.Name, Secret: f.Secret, Step: f.Step,
		CredentialId: f.CredentialID, Credential: f.Credential, SignCount: f.SignCount, RecoveryHashes: op.Recovery,
	}}
	return nil
}

func decodeAddFactor(m *raftv1.AddFactor) AddFactor {
	return AddFactor{
		Factor: gestor.Factor{
			ID: gestor.FactorID(m.GetId()), UserID: gestor.UserID(m.GetUserId()), Kind: gestor.FactorKind(m.GetKind()), Name: m.GetName(),
			Secret: m.GetSecret(), Step: m.GetStep(), CredentialID: m.GetCredentialId(), Credential: m.GetCredential(), SignCount: m.GetSignCount(),
		},
		Recovery: m.GetRecoveryHashes(),
	}
}

// RemoveFactor removes a second factor.
type RemoveFactor struct{ ID gestor.FactorID }

func (RemoveFactor) needs() uint32 { return levelPeople }

func (op RemoveFactor) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RemoveFactor{RemoveFactor: &raftv1.RemoveFactor{Id: string(op.ID)}}
	return nil
}

// RenameFactor gives a second factor another name.
type RenameFactor struct {
	ID   gestor.FactorID
	Name string
}

func (RenameFactor) needs() uint32 { return levelPeople }

func (op RenameFactor) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RenameFactor{RenameFactor: &raftv1.RenameFactor{Id: string(op.ID), Name: op.Name}}
	return nil
}

// SetRecoveryCodes gives a user other recovery codes.
type SetRecoveryCodes struct {
	UserID gestor.UserID
	Hashes [][]byte // SHA-256 of each
}

func (SetRecoveryCodes) needs() uint32 { return levelPeople }

func (op SetRecoveryCodes) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_SetRecoveryCodes{SetRecoveryCodes: &raftv1.SetRecoveryCodes{UserId: string(op.UserID), Hashes: op.Hashes}}
	return nil
}

// ResetFactors removes all second factors of a user and ends the user's sessions.
type ResetFactors struct{ UserID gestor.UserID }

func (ResetFactors) needs() uint32 { return levelPeople }

func (op ResetFactors) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ResetFactors{ResetFactors: &raftv1.ResetFactors{UserId: string(op.UserID)}}
	return nil
}

// decodeFactorOp reads the ops on second factors, and those on sessions that came with them.
func decodeFactorOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_AddFactor:
		return decodeAddFactor(op.AddFactor), true
	case *raftv1.Command_RemoveFactor:
		return RemoveFactor{ID: gestor.FactorID(op.RemoveFactor.GetId())}, true
	case *raftv1.Command_RenameFactor:
		return RenameFactor{ID: gestor.FactorID(op.RenameFactor.GetId()), Name: op.RenameFactor.GetName()}, true
	case *raftv1.Command_SetRecoveryCodes:
		return SetRecoveryCodes{UserID: gestor.UserID(op.SetRecoveryCodes.GetUserId()), Hashes: op.SetRecoveryCodes.GetHashes()}, true
	case *raftv1.Command_ResetFactors:
		return ResetFactors{UserID: gestor.UserID(op.ResetFactors.GetUserId())}, true
	case *raftv1.Command_SignIn:
		return decodeSignIn(op.SignIn), true
	case *raftv1.Command_Reauthenticate:
		return decodeReauthenticate(op.Reauthenticate), true
	case *raftv1.Command_EndSessions:
		return EndSessions{UserID: gestor.UserID(op.EndSessions.GetUserId()), Except: gestor.SessionID(op.EndSessions.GetExcept())}, true
	case *raftv1.Command_TouchSessions:
		return decodeTouchSessions(op.TouchSessions), true
	}
	return nil, false
}

func encodeUse(u gestor.FactorUse) *raftv1.FactorUse {
	if u.IsZero() && u.Step == 0 && u.SignCount == 0 && len(u.Challenge.Hash) == 0 && u.Challenge.Until.IsZero() {
		return nil
	}
	return &raftv1.FactorUse{
		FactorId: string(u.Factor), Step: u.Step, SignCount: u.SignCount, Challenge: u.Challenge.Hash, Until: stamp(u.Challenge.Until), RecoveryHash: u.Recovery,
	}
}

func decodeUse(m *raftv1.FactorUse) gestor.FactorUse {
	return gestor.FactorUse{
		Factor: gestor.FactorID(m.GetFactorId()), Step: m.GetStep(), SignCount: m.GetSignCount(),
		Challenge: gestor.Challenge{Hash: m.GetChallenge(), Until: moment(m.GetUntil())}, Recovery: m.GetRecoveryHash(),
	}
}

func (AddFactor) whileSuspended()        {}
func (RemoveFactor) whileSuspended()     {}
func (RenameFactor) whileSuspended()     {}
func (SetRecoveryCodes) whileSuspended() {}
func (SignIn) whileSuspended()           {}
func (Reauthenticate) whileSuspended()   {}
func (EndSessions) whileSuspended()      {}
