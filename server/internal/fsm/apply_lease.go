package fsm

import (
	"cmp"
	"errors"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) leaseTask(op command.LeaseTask) error {
	t, err := c.mine().Task(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(t.ID), map[string]any{"node": op.Node})
	if err := c.mayLease(t, op.Node); err != nil {
		return err
	}
	t.State, t.NodeID, t.Fence = gestor.TaskLeased, op.Node, c.index
	t.Attempt++
	t.Deadline = c.at.Add(t.Timeout)
	t.Waiting, t.Phase, t.Percent, t.Error, t.Result = "", "", 0, "", nil
	return c.PutTask(c.ctx, t)
}

func (c *change) mayLease(t gestor.Task, node gestor.NodeID) error {
	if t.State != gestor.TaskQueued {
		return fault.Conflict("task %s is %s, not queued", t.ID, t.State)
	}
	due := t.NotBefore
	if c.atLeast(2) {
		due = t.Due(c.at)
	}
	if c.at.Before(due) {
		return fault.Conflict("task %s is not due yet", t.ID)
	}
	if t.NodeID != "" && t.NodeID != node {
		return fault.Conflict("task %s is for node %s", t.ID, t.NodeID)
	}
	if t.NodeID == "" && len(t.Candidates) > 0 && !slices.Contains(t.Candidates, node) {
		return fault.Conflict("node %s is no candidate for task %s", node, t.ID)
	}
	if err := c.nodeOf(t.TenantID, node); err != nil {
		return err
	}
	held, err := c.HeldTasks(c.ctx, node)
	if err != nil {
		return err
	}
	for _, other := range held {
		if other.Resource == t.Resource {
			return fault.Conflict("node %s works on %s already, for task %s", node, t.Resource, other.ID)
		}
	}
	return nil
}

// held is a task that its node works on under a fence.
func (c *change) held(id gestor.TaskID, fence uint64) (gestor.Task, error) {
	t, err := c.workOf(id)
	if err != nil {
		return t, err
	}
	c.about(string(t.ID), map[string]any{"kind": t.Kind})
	if t.Fence != fence {
		return t, fault.Conflict("task %s was given out again: fence %d is stale, it is %d", id, fence, t.Fence)
	}
	if !t.State.Held() {
		return t, fault.Conflict("task %s is %s, no node holds it", id, t.State)
	}
	return t, nil
}

func (c *change) startTask(op command.StartTask) error {
	t, err := c.held(op.ID, op.Fence)
	if err != nil || t.State == gestor.TaskRunning {
		return err
	}
	t.State = gestor.TaskRunning
	if t.StartedAt.IsZero() {
		t.StartedAt = c.at
	}
	if err := c.PutTask(c.ctx, t); err != nil {
		return err
	}
	return c.beginBuild(t)
}

func (c *change) reportTask(op command.ReportTask) error {
	t, err := c.held(op.ID, op.Fence)
	if err != nil {
		return err
	}
	t.Phase, t.Percent = op.Phase, op.Percent
	return c.PutTask(c.ctx, t)
}

func (c *change) finishTask(op command.FinishTask) error {
	t, err := c.held(op.ID, op.Fence)
	if t.ID != "" && t.Fence == op.Fence && t.State == op.Outcome && op.Outcome.Ended() {
		return nil // its agent says it again because the answer was lost
	}
	if err != nil {
		return err
	}
	t.Result = op.Result
	c.detail["outcome"] = op.Outcome
	switch op.Outcome {
	case gestor.TaskSucceeded:
		return errors.Join(c.endTask(t, op.Outcome, op.Error), c.pruneReleases(t))
	case gestor.TaskCancelled:
		return c.endTask(t, op.Outcome, op.Error)
	case gestor.TaskFailed:
		return c.failTask(t, op)
	default:
		return fault.Invalid("outcome", "a task cannot end as %q", op.Outcome)
	}
}

func (c *change) failTask(t gestor.Task, op command.FinishTask) error {
	if !op.Retryable || t.Attempt >= t.MaxAttempts || t.Cancelling {
		return c.endTask(t, gestor.TaskFailed, op.Error)
	}
	t.NotBefore = c.at.Add(gestor.Backoff(t.Attempt))
	return c.queueAgain(t, op.Error)
}

func (c *change) loseTask(op command.LoseTask) error {
	t, err := c.held(op.ID, op.Fence)
	if err != nil {
		return err
	}
	why := cmp.Or(op.Reason, "its node was lost")
	switch {
	case t.Cancelling:
		return c.endTask(t, gestor.TaskCancelled, why)
	case t.OnLost == gestor.LostRetry && t.Attempt < t.MaxAttempts:
		t.NotBefore = c.at
		return c.queueAgain(t, why)
	default:
		return c.endTask(t, gestor.TaskLost, why)
	}
}
