package command

import (
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateTask makes a task. What an attempt fills in (state, attempt, fence, deadline, result, times) is not read.
// Resource is that of the spec.
type CreateTask struct{ Task gestor.Task }

func (op CreateTask) encode(m *raftv1.Command) error {
	t, err := op.message()
	m.Op = &raftv1.Command_CreateTask{CreateTask: t}
	return err
}

func (op CreateTask) message() (*raftv1.CreateTask, error) {
	t := op.Task
	spec, err := unpack(t.Spec, &agentv1.TaskSpec{})
	return &raftv1.CreateTask{
		Id:           string(t.ID),
		TenantId:     string(t.TenantID),
		Kind:         t.Kind,
		NodeId:       string(t.NodeID),
		Candidates:   texts(t.Candidates),
		AppId:        string(t.AppID),
		DeploymentId: string(t.DeploymentID),
		BuildId:      string(t.BuildID),
		Spec:         spec,
		MaxAttempts:  int32(t.MaxAttempts),
		Priority:     int32(t.Priority),
		NotBefore:    stamp(t.NotBefore),
		TimeoutMs:    t.Timeout.Milliseconds(),
		OnLost:       string(t.OnLost),
	}, err
}

func decodeCreateTask(m *raftv1.CreateTask) (CreateTask, error) {
	spec, err := pack(m.GetSpec())
	return CreateTask{Task: gestor.Task{
		ID:           gestor.TaskID(m.GetId()),
		TenantID:     gestor.TenantID(m.GetTenantId()),
		Kind:         m.GetKind(),
		NodeID:       gestor.NodeID(m.GetNodeId()),
		Candidates:   ids[gestor.NodeID](m.GetCandidates()),
		AppID:        gestor.AppID(m.GetAppId()),
		DeploymentID: gestor.DeploymentID(m.GetDeploymentId()),
		BuildID:      gestor.BuildID(m.GetBuildId()),
		Spec:         spec,
		Resource:     m.GetSpec().GetResource(),
		MaxAttempts:  int(m.GetMaxAttempts()),
		Priority:     int(m.GetPriority()),
		NotBefore:    moment(m.GetNotBefore()),
		Timeout:      time.Duration(m.GetTimeoutMs()) * time.Millisecond,
		OnLost:       gestor.OnLost(m.GetOnLost()),
	}}, err
}

func encodeTasks(in []CreateTask) ([]*raftv1.CreateTask, error) {
	var out []*raftv1.CreateTask
	for _, t := range in {
		m, err := t.message()
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func decodeTasks(in []*raftv1.CreateTask) ([]CreateTask, error) {
	var out []CreateTask
	for _, m := range in {
		t, err := decodeCreateTask(m)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// LeaseTask gives a queued task to a node; the revision of the change is the task's fence.
type LeaseTask struct {
	ID   gestor.TaskID
	Node gestor.NodeID
}

func (op LeaseTask) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_LeaseTask{LeaseTask: &raftv1.LeaseTask{Id: string(op.ID), NodeId: string(op.Node)}}
	return nil
}

func decodeLeaseTask(m *raftv1.LeaseTask) LeaseTask {
	return LeaseTask{ID: gestor.TaskID(m.GetId()), Node: gestor.NodeID(m.GetNodeId())}
}

// StartTask records that a node began.
type StartTask struct {
	ID    gestor.TaskID
	Fence uint64
}

func (op StartTask) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_StartTask{StartTask: &raftv1.StartTask{Id: string(op.ID), Fence: op.Fence}}
	return nil
}

// ReportTask records how far a task is.
type ReportTask struct {
	ID      gestor.TaskID
	Fence   uint64
	Phase   string
	Percent int // 0 to 100; negative when not known
}

func (op ReportTask) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_ReportTask{ReportTask: &raftv1.ReportTask{
		Id:      string(op.ID),
		Fence:   op.Fence,
		Phase:   op.Phase,
		Percent: int32(op.Percent),
	}}
	return nil
}

func decodeReportTask(m *raftv1.ReportTask) ReportTask {
	return ReportTask{
		ID:      gestor.TaskID(m.GetId()),
		Fence:   m.GetFence(),
		Phase:   m.GetPhase(),
		Percent: int(m.GetPercent()),
	}
}

// FinishTask records an outcome: TaskSucceeded, TaskFailed or TaskCancelled. A stale fence is refused.
type FinishTask struct {
	ID        gestor.TaskID
	Fence     uint64
	Outcome   gestor.TaskState
	Error     string
	Retryable bool   // another attempt may help
	Result    []byte // gestor.agent.v1.TaskResult
}

func (op FinishTask) encode(m *raftv1.Command) error {
	result, err := unpack(op.Result, &agentv1.TaskResult{})
	m.Op = &raftv1.Command_FinishTask{FinishTask: &raftv1.FinishTask{
		Id:        string(op.ID),
		Fence:     op.Fence,
		Outcome:   string(op.Outcome),
		Error:     op.Error,
		Retryable: op.Retryable,
		Result:    result,
	}}
	return err
}

func decodeFinishTask(m *raftv1.FinishTask) (Op, error) {
	result, err := pack(m.GetResult())
	return FinishTask{
		ID:        gestor.TaskID(m.GetId()),
		Fence:     m.GetFence(),
		Outcome:   gestor.TaskState(m.GetOutcome()),
		Error:     m.GetError(),
		Retryable: m.GetRetryable(),
		Result:    result,
	}, err
}

// CancelTask asks for a stop: a queued task is cancelled at once, a held one by its node.
type CancelTask struct{ ID gestor.TaskID }

func (op CancelTask) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_CancelTask{CancelTask: &raftv1.CancelTask{Id: string(op.ID)}}
	return nil
}

// LoseTask records that a lease ran out with its node gone.
type LoseTask struct {
	ID     gestor.TaskID
	Fence  uint64
	Reason string // what is known of it and what follows, for people; has a default
}

func (op LoseTask) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_LoseTask{LoseTask: &raftv1.LoseTask{Id: string(op.ID), Fence: op.Fence, Reason: op.Reason}}
	return nil
}

// RetryTask queues a lost or failed task again, for a person who asked for it.
type RetryTask struct{ ID gestor.TaskID }

func (op RetryTask) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RetryTask{RetryTask: &raftv1.RetryTask{Id: string(op.ID)}}
	return nil
}

// ExplainTasks records why queued tasks wait; an empty reason clears it.
type ExplainTasks struct{ Waiting map[gestor.TaskID]string }

func (op ExplainTasks) encode(m *raftv1.Command) error {
	waiting := make(map[string]string, len(op.Waiting))
	for id, why := range op.Waiting {
		waiting[string(id)] = why
	}
	m.Op = &raftv1.Command_ExplainTasks{ExplainTasks: &raftv1.ExplainTasks{Waiting: waiting}}
	return nil
}

func decodeExplainTasks(m *raftv1.ExplainTasks) ExplainTasks {
	waiting := make(map[gestor.TaskID]string, len(m.GetWaiting()))
	for id, why := range m.GetWaiting() {
		waiting[gestor.TaskID(id)] = why
	}
	return ExplainTasks{Waiting: waiting}
}

// Keep names the releases that a retire task leaves on its node; false if the spec is not that of a retire task.
func Keep(spec []byte) (names []string, ok bool) {
	var m agentv1.TaskSpec
	if err := proto.Unmarshal(spec, &m); err != nil || m.GetRetire() == nil {
		return nil, false
	}
	return m.GetRetire().GetKeep(), true
}
