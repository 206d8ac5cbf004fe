// Package fsmtest helps to test what stands on the state machine without Raft around it.
package fsmtest

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/fsm"
)

// Apply applies c as the only command of the entry at index, as Raft would. The caller counts the index and applies one
// command at a time.
func Apply(f *fsm.FSM, index uint64, c command.Command) (command.Receipt, error) {
	m, err := command.Encode(c)
	if err != nil {
		return command.Receipt{}, err
	}
	data, err := proto.Marshal(&raftv1.Batch{Commands: []*raftv1.Command{m}})
	if err != nil {
		return command.Receipt{}, fmt.Errorf("frame command: %w", err)
	}
	r := f.Apply([]fsm.Entry{{Index: index, Data: data}})[0][0]
	return r.Receipt, r.Err
}
