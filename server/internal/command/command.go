package command

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Command is one change, with all that is not a function of the state (ids, times, hashes) chosen by the proposer.
type Command struct {
	RequestID string    // a command of the tenant whose id was applied before returns what it returned then; empty: none
	At        time.Time // when it was proposed; the only clock the state machine knows
	Actor     gestor.Actor
	Op        Op
}

// Receipt is what a command that was not refused returns.
type Receipt struct {
	Revision uint64 // the Raft index of the change; of the first time for a repeated RequestID
	Object   string // the id of what it made or changed; of the first time for a repeated RequestID
}

// Op is what a command does. The structs of this package, by value, are all there are.
type Op interface{ encode(*raftv1.Command) error }

// Encode turns c into its replicated form. It fails only for bytes in c that are not the message they should be.
func Encode(c Command) (*raftv1.Command, error) {
	if c.Op == nil {
		return nil, errors.New("encode command: no op")
	}
	m := &raftv1.Command{RequestId: c.RequestID, At: stamp(c.At), Actor: encodeActor(c.Actor)}
	if err := c.Op.encode(m); err != nil {
		return nil, fmt.Errorf("encode %T: %w", c.Op, err)
	}
	return m, nil
}

// Marshal turns c into bytes, the same for the same c.
func Marshal(c Command) ([]byte, error) {
	m, err := Encode(c)
	if err != nil {
		return nil, err
	}
	return marshal(m)
}

// Decode turns the replicated form back. An op it does not know is an error: this server is older than the proposer.
func Decode(m *raftv1.Command) (Command, error) {
	op, err := decodeOp(m)
	if err != nil {
		return Command{}, err
	}
	return Command{RequestID: m.GetRequestId(), At: moment(m.GetAt()), Actor: decodeActor(m.GetActor()), Op: op}, nil
}

// Unmarshal turns what Marshal wrote back, as Decode does.
func Unmarshal(data []byte) (Command, error) {
	var m raftv1.Command
	if err := proto.Unmarshal(data, &m); err != nil {
		return Command{}, fmt.Errorf("decode command: %w", err)
	}
	return Decode(&m)
}

func decodeOp(m *raftv1.Command) (Op, error) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_InitCluster:
		return decodeInitCluster(op.InitCluster), nil
	case *raftv1.Command_Claim:
		return decodeClaim(op.Claim), nil
	case *raftv1.Command_CreateSession:
		return decodeCreateSession(op.CreateSession), nil
	case *raftv1.Command_DeleteSession:
		return DeleteSession{ID: gestor.SessionID(op.DeleteSession.GetId())}, nil
	case *raftv1.Command_CreateJoinToken:
		return decodeCreateJoinToken(op.CreateJoinToken), nil
	case *raftv1.Command_EnrollNode:
		return decodeEnrollNode(op.EnrollNode)
	case *raftv1.Command_RenewNode:
		return RenewNode{ID: gestor.NodeID(op.RenewNode.GetNodeId()), Generation: op.RenewNode.GetGeneration()}, nil
	case *raftv1.Command_SetNodeStatus:
		return decodeSetNodeStatus(op.SetNodeStatus)
	case *raftv1.Command_SetNodeDraining:
		return decodeSetNodeDraining(op.SetNodeDraining), nil
	case *raftv1.Command_DeleteNode:
		return DeleteNode{ID: gestor.NodeID(op.DeleteNode.GetNodeId())}, nil
	case *raftv1.Command_CreateApp:
		return decodeCreateApp(op.CreateApp), nil
	case *raftv1.Command_UpdateApp:
		return decodeUpdateApp(op.UpdateApp), nil
	case *raftv1.Command_DeleteApp:
		return decodeDeleteApp(op.DeleteApp)
	case *raftv1.Command_ForgetApp:
		return ForgetApp{ID: gestor.AppID(op.ForgetApp.GetId())}, nil
	case *raftv1.Command_UpdateEnv:
		return decodeUpdateEnv(op.UpdateEnv), nil
	}
	if op, ok := decodeTokenOp(m); ok {
		return op, nil
	}
	if op, ok := decodeFactorOp(m); ok {
		return op, nil
	}
	if op, ok := decodeProviderOp(m); ok {
		return op, nil
	}
	if op, ok := decodeServerOp(m); ok {
		return op, nil
	}
	if op, ok := decodeEventOp(m); ok {
		return op, nil
	}
	if op, ok := decodePeopleOp(m); ok {
		return op, nil
	}
	if op, ok := decodeSecretOp(m); ok {
		return op, nil
	}
	if op, ok := decodeTenantOp(m); ok {
		return op, nil
	}
	if op, ok := decodeLogOp(m); ok {
		return op, nil
	}
	if op, ok := decodeAuditOp(m); ok {
		return op, nil
	}
	if op, ok := decodeProtectionOp(m); ok {
		return op, nil
	}
	if op, ok := decodeNext(m); ok {
		return op, nil
	}
	return decodeWork(m)
}

func decodeWork(m *raftv1.Command) (Op, error) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_CreateBuild:
		return decodeCreateBuild(op.CreateBuild)
	case *raftv1.Command_CreateDeployment:
		return decodeCreateDeployment(op.CreateDeployment)
	case *raftv1.Command_AdvanceDeployment:
		return decodeAdvanceDeployment(op.AdvanceDeployment)
	case *raftv1.Command_CancelDeployment:
		return CancelDeployment{ID: gestor.DeploymentID(op.CancelDeployment.GetId())}, nil
	case *raftv1.Command_PinRelease:
		return PinRelease{ID: gestor.ReleaseID(op.PinRelease.GetId()), Pinned: op.PinRelease.GetPinned()}, nil
	case *raftv1.Command_CreateTask:
		return decodeCreateTask(op.CreateTask)
	case *raftv1.Command_LeaseTask:
		return decodeLeaseTask(op.LeaseTask), nil
	case *raftv1.Command_StartTask:
		return StartTask{ID: gestor.TaskID(op.StartTask.GetId()), Fence: op.StartTask.GetFence()}, nil
	case *raftv1.Command_ReportTask:
		return decodeReportTask(op.ReportTask), nil
	case *raftv1.Command_FinishTask:
		return decodeFinishTask(op.FinishTask)
	case *raftv1.Command_CancelTask:
		return CancelTask{ID: gestor.TaskID(op.CancelTask.GetId())}, nil
	case *raftv1.Command_LoseTask:
		return LoseTask{ID: gestor.TaskID(op.LoseTask.GetId()), Fence: op.LoseTask.GetFence(), Reason: op.LoseTask.GetReason()}, nil
	case *raftv1.Command_RetryTask:
		return RetryTask{ID: gestor.TaskID(op.RetryTask.GetId())}, nil
	case *raftv1.Command_ExplainTasks:
		return decodeExplainTasks(op.ExplainTasks), nil
	case *raftv1.Command_Prune:
		return Prune{Before: moment(op.Prune.GetBefore())}, nil
	}
	return nil, fmt.Errorf("decode command: op %T is not known to this server", m.GetOp())
}

func marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}
