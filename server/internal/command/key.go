package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// RotateKey begins the change to another key, which is in the ring of the server that proposes.
type RotateKey struct {
	KeyID string
	Again bool // give up the key that still spreads
}

// RegisterKey makes the key known that the first leader seals with. A state that knows one already keeps it.
type RegisterKey struct{ KeyID string }

// ConfirmKey says that a server has a key on its disk, or what keeps it from that.
type ConfirmKey struct {
	KeyID   string
	Server  gestor.ServerID
	Problem string
}

// ActivateKey makes a key the one that seals.
type ActivateKey struct{ KeyID string }

// Reseal replaces sealed values by the same ones under the key that seals.
type Reseal struct{ Values []gestor.Resealed }

// FinishRotation ends the change to another key.
type FinishRotation struct {
	KeyID      string
	Unreadable int64
}

// DropKeys drops the keys that were replaced.
type DropKeys struct{}

// RollbackEnv makes the variables of a version an app's newest.
type RollbackEnv struct {
	AppID   gestor.AppID
	Version int64
}

func (RotateKey) needs() uint32      { return 2 }
func (RegisterKey) needs() uint32    { return 2 }
func (ConfirmKey) needs() uint32     { return 2 }
func (ActivateKey) needs() uint32    { return 2 }
func (Reseal) needs() uint32         { return 2 }
func (FinishRotation) needs() uint32 { return 2 }
func (DropKeys) needs() uint32       { return 2 }
func (RollbackEnv) needs() uint32    { return 2 }

func (op RotateKey) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RotateKey{RotateKey: &raftv1.RotateKey{KeyId: op.KeyID, Again: op.Again}}
	return nil
}

func (op RegisterKey) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RegisterKey{RegisterKey: &raftv1.RegisterKey{KeyId: op.KeyID}}
	return nil
}

func (op ConfirmKey) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ConfirmKey{ConfirmKey: &raftv1.ConfirmKey{KeyId: op.KeyID, ServerId: string(op.Server), Problem: op.Problem}}
	return nil
}

func (op ActivateKey) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ActivateKey{ActivateKey: &raftv1.ActivateKey{KeyId: op.KeyID}}
	return nil
}

func (op Reseal) encode(m *raftv1.Command) error {
	out := &raftv1.Reseal{}
	for _, v := range op.Values {
		out.Values = append(out.Values, &raftv1.ResealedValue{Column: v.Column, Key: v.Key, Before: v.Before, Sealed: v.Sealed})
	}
	m.Op = &raftv1.Command_Reseal{Reseal: out}
	return nil
}

func decodeReseal(m *raftv1.Reseal) Reseal {
	var op Reseal
	for _, v := range m.GetValues() {
		op.Values = append(op.Values, gestor.Resealed{Column: v.GetColumn(), Key: v.GetKey(), Before: v.GetBefore(), Sealed: v.GetSealed()})
	}
	return op
}

func (op FinishRotation) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_FinishRotation{FinishRotation: &raftv1.FinishRotation{KeyId: op.KeyID, Unreadable: op.Unreadable}}
	return nil
}

func (DropKeys) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DropKeys{DropKeys: &raftv1.DropKeys{}}
	return nil
}

func (op RollbackEnv) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RollbackEnv{RollbackEnv: &raftv1.RollbackEnv{AppId: string(op.AppID), Version: op.Version}}
	return nil
}

// decodeSecretOp reads the ops on keys and on versions of variables.
func decodeSecretOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_RotateKey:
		return RotateKey{KeyID: op.RotateKey.GetKeyId(), Again: op.RotateKey.GetAgain()}, true
	case *raftv1.Command_RegisterKey:
		return RegisterKey{KeyID: op.RegisterKey.GetKeyId()}, true
	case *raftv1.Command_ConfirmKey:
		c := op.ConfirmKey
		return ConfirmKey{KeyID: c.GetKeyId(), Server: gestor.ServerID(c.GetServerId()), Problem: c.GetProblem()}, true
	case *raftv1.Command_ActivateKey:
		return ActivateKey{KeyID: op.ActivateKey.GetKeyId()}, true
	case *raftv1.Command_Reseal:
		return decodeReseal(op.Reseal), true
	case *raftv1.Command_FinishRotation:
		return FinishRotation{KeyID: op.FinishRotation.GetKeyId(), Unreadable: op.FinishRotation.GetUnreadable()}, true
	case *raftv1.Command_DropKeys:
		return DropKeys{}, true
	case *raftv1.Command_RollbackEnv:
		return RollbackEnv{AppID: gestor.AppID(op.RollbackEnv.GetAppId()), Version: op.RollbackEnv.GetVersion()}, true
	}
	return nil, false
}
