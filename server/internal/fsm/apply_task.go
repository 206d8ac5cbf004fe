package fsm

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) createTask(op command.CreateTask) error {
	c.about(string(op.Task.ID), map[string]any{"kind": op.Task.Kind})
	if op.Task.AppID != "" {
		if _, err := c.mine().App(c.ctx, op.Task.AppID); err != nil {
			return err
		}
	}
	owner := gestor.Task{
		TenantID:     cmp.Or(c.actor.TenantID, op.Task.TenantID),
		AppID:        op.Task.AppID,
		DeploymentID: op.Task.DeploymentID,
		BuildID:      op.Task.BuildID,
	}
	return c.addTasks([]command.CreateTask{op}, owner)
}

// addTasks queues new tasks that belong to owner's tenant, app, deployment and build.
func (c *change) addTasks(ops []command.CreateTask, owner gestor.Task) error {
	for _, op := range ops {
		if err := c.addTask(op.Task, owner); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) addTask(t, owner gestor.Task) error {
	if err := unless(second(c.Task(c.ctx, t.ID)), fault.Exists("the task %s exists already", t.ID)); err != nil {
		return err
	}
	for _, node := range append(slices.Clone(t.Candidates), t.NodeID) {
		if node == "" {
			continue
		}
		if err := c.nodeOf(owner.TenantID, node); err != nil {
			return err
		}
	}
	return c.PutTask(c.ctx, gestor.Task{
		ID:           t.ID,
		TenantID:     owner.TenantID,
		Kind:         t.Kind,
		State:        gestor.TaskQueued,
		NodeID:       t.NodeID,
		Candidates:   t.Candidates,
		AppID:        owner.AppID,
		DeploymentID: owner.DeploymentID,
		BuildID:      cmp.Or(owner.BuildID, t.BuildID),
		Spec:         t.Spec,
		Resource:     cmp.Or(t.Resource, "task/"+string(t.ID)),
		MaxAttempts:  max(t.MaxAttempts, 1),
		Priority:     t.Priority,
		NotBefore:    t.NotBefore,
		Timeout:      t.Timeout,
		OnLost:       cmp.Or(t.OnLost, gestor.LostHold),
		CreatedAt:    c.at,
	})
}

func (c *change) nodeOf(tenant gestor.TenantID, id gestor.NodeID) error {
	none, err := absent(second(c.In(gestor.TenantScope(tenant)).Node(c.ctx, id)))
	if none {
		return fault.NotFound("there is no node %s", id)
	}
	return err
}

func (c *change) cancelTask(op command.CancelTask) error {
	t, err := c.mine().Task(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(t.ID), map[string]any{"kind": t.Kind})
	return c.stopTask(t)
}

func (c *change) stopTasks(ids []gestor.TaskID) error {
	for _, id := range ids {
		t, err := c.mine().Task(c.ctx, id)
		if err != nil {
			return err
		}
		if err := c.stopTask(t); err != nil {
			return err
		}
	}
	return nil
}

// stopTask cancels a task that waits and asks the node of one that is held; one that ended is left alone.
func (c *change) stopTask(t gestor.Task) error {
	switch {
	case t.State == gestor.TaskQueued:
		return c.endTask(t, gestor.TaskCancelled, "cancelled")
	case t.State.Held():
		t.Cancelling = true
		return c.PutTask(c.ctx, t)
	}
	return nil
}

// endTask ends a task and the build it carried out.
func (c *change) endTask(t gestor.Task, state gestor.TaskState, why string) error {
	t.State, t.Error, t.FinishedAt, t.Waiting = state, why, c.at, ""
	return errors.Join(c.PutTask(c.ctx, t), c.endBuild(t))
}

func (c *change) retryTask(op command.RetryTask) error {
	t, err := c.mine().Task(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(t.ID), map[string]any{"kind": t.Kind})
	// A removal may also be taken up again after a cancel: without it an app that is being deleted would stay for ever.
	again := t.State == gestor.TaskLost || t.State == gestor.TaskFailed || t.State == gestor.TaskCancelled && t.Kind == gestor.TaskRemove
	if !again {
		return fault.Conflict("task %s is %s; only lost and failed tasks, and removals that were cancelled, can be retried", t.ID, t.State)
	}
	if t.Kind == gestor.TaskBuild {
		return fault.Conflict("the build of task %s has ended", t.ID).WithFix("start a new build")
	}
	if err := c.deploymentGoesOn(t); err != nil {
		return err
	}
	t.MaxAttempts = max(t.MaxAttempts, t.Attempt+1)
	t.NotBefore = c.at
	return c.queueAgain(t, "")
}

// deploymentGoesOn refuses to repeat what is of no use any more. What tidies up outlives its deployment, but nothing may
// remove an app from a node that it is to be on again.
func (c *change) deploymentGoesOn(t gestor.Task) error {
	if t.DeploymentID == "" {
		return nil
	}
	d, err := c.Deployment(c.ctx, t.DeploymentID)
	if err != nil {
		return err
	}
	if t.Kind == gestor.TaskRemove {
		return c.stillGone(t)
	}
	if d.State.Ended() && t.Kind != gestor.TaskRetire {
		return fault.Conflict("deployment %s of task %s has ended", d.ID, t.ID).WithFix("start a new deployment")
	}
	return nil
}

func (c *change) stillGone(t gestor.Task) error {
	a, err := c.App(c.ctx, t.AppID)
	if err != nil || a.Status == gestor.AppDeleting {
		return err
	}
	nodes := a.Settings.Nodes
	if a.ActiveDeployment != "" {
		d, err := c.Deployment(c.ctx, a.ActiveDeployment)
		if err != nil {
			return err
		}
		nodes = append(slices.Clone(nodes), d.Nodes...)
	}
	if slices.Contains(nodes, t.NodeID) {
		return fault.Conflict("app %s is on the node of task %s again", a.Slug, t.ID)
	}
	return nil
}

// queueAgain makes a task wait for its next attempt, on any node that may do it.
func (c *change) queueAgain(t gestor.Task, why string) error {
	if len(t.Candidates) > 0 || t.Anywhere() {
		t.NodeID = ""
	}
	t.State, t.Error, t.Cancelling, t.FinishedAt = gestor.TaskQueued, why, false, time.Time{}
	return c.PutTask(c.ctx, t)
}

func (c *change) explainTasks(op command.ExplainTasks) error {
	for _, id := range slices.Sorted(maps.Keys(op.Waiting)) {
		t, err := c.Task(c.ctx, id)
		if none, err := absent(err); err != nil {
			return err
		} else if none || t.State != gestor.TaskQueued || t.Waiting == op.Waiting[id] {
			continue
		}
		t.Waiting = op.Waiting[id]
		if err := c.PutTask(c.ctx, t); err != nil {
			return err
		}
	}
	return nil
}
