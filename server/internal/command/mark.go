package command

import (
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
)

// Mark makes every server compute the hash of its state at the entry that holds it. It changes nothing.
type Mark struct{ ID string } // chosen at random

func (op Mark) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_Mark{Mark: &raftv1.Mark{Id: op.ID}}
	return nil
}

// RaiseLevel brings the state to a level, which all servers must understand.
type RaiseLevel struct{ Level uint32 }

func (op RaiseLevel) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RaiseLevel{RaiseLevel: &raftv1.RaiseLevel{Level: op.Level}}
	return nil
}

// decodeLogOp reads the ops on the log and the state as a whole.
func decodeLogOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_Mark:
		return Mark{ID: op.Mark.GetId()}, true
	case *raftv1.Command_RaiseLevel:
		return RaiseLevel{Level: op.RaiseLevel.GetLevel()}, true
	}
	return nil, false
}
