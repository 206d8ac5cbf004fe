package api

import (
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var taskStates = map[gestor.TaskState]gestorv1.TaskState{
	gestor.TaskQueued:    gestorv1.TaskState_TASK_STATE_QUEUED,
	gestor.TaskLeased:    gestorv1.TaskState_TASK_STATE_LEASED,
	gestor.TaskRunning:   gestorv1.TaskState_TASK_STATE_RUNNING,
	gestor.TaskSucceeded: gestorv1.TaskState_TASK_STATE_SUCCEEDED,
	gestor.TaskFailed:    gestorv1.TaskState_TASK_STATE_FAILED,
	gestor.TaskCancelled: gestorv1.TaskState_TASK_STATE_CANCELLED,
	gestor.TaskLost:      gestorv1.TaskState_TASK_STATE_LOST,
}

// taskOut converts a task; names are the nodes' names by id.
func taskOut(t gestor.Task, names nodeNames) *gestorv1.Task {
	return &gestorv1.Task{
		Id:           string(t.ID),
		Kind:         t.Kind,
		State:        taskStates[t.State],
		NodeId:       string(t.NodeID),
		NodeName:     names[t.NodeID],
		AppId:        string(t.AppID),
		DeploymentId: string(t.DeploymentID),
		Attempt:      int32(t.Attempt),
		MaxAttempts:  int32(t.MaxAttempts),
		Fence:        t.Fence,
		Priority:     int32(t.Priority),
		Waiting:      t.Waiting,
		Phase:        t.Phase,
		Percent:      int32(t.Percent),
		Error:        t.Error,
		Cancelling:   t.Cancelling,
		CreatedAt:    timeOut(t.CreatedAt),
		StartedAt:    timeOut(t.StartedAt),
		FinishedAt:   timeOut(t.FinishedAt),
		NotBefore:    timeOut(t.NotBefore),
		Detection:    taskResult(t).GetDetection(),
		Revision:     t.Revision,
	}
}

// taskResult is what a task made; empty if it made nothing, or something a newer server wrote.
func taskResult(t gestor.Task) *agentv1.TaskResult {
	result := new(agentv1.TaskResult)
	if proto.Unmarshal(t.Result, result) != nil {
		return new(agentv1.TaskResult)
	}
	return result
}

// isRevert reports whether a switch goes back from a failed deployment.
func isRevert(t gestor.Task) bool {
	spec := new(agentv1.TaskSpec)
	return t.Kind == gestor.TaskSwitch && proto.Unmarshal(t.Spec, spec) == nil && spec.GetSwitch().GetRevert()
}
