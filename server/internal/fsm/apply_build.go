package fsm

import (
	"errors"
	"fmt"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) createBuild(op command.CreateBuild) error {
	a, err := c.liveApp(op.AppID)
	if err != nil {
		return err
	}
	c.about(string(op.ID), map[string]any{"app": a.Slug, "ref": op.Ref})
	if err := c.tenantWorks(a.TenantID); err != nil {
		return err
	}
	return c.addBuild(&a, op, "")
}

// addBuild makes a build with its task, for a deployment or for itself, and writes the app.
func (c *change) addBuild(a *gestor.App, op command.CreateBuild, deployment gestor.DeploymentID) error {
	if err := unless(second(c.Build(c.ctx, op.ID)), fault.Exists("the build %s exists already", op.ID)); err != nil {
		return err
	}
	a.LastBuild++
	spec, err := command.NumberSpec(op.Task.Spec, a.LastBuild, a.UID)
	if err != nil {
		return fmt.Errorf("build %s: %w", op.ID, err)
	}
	task := op.Task
	task.Spec = spec
	owner := gestor.Task{TenantID: a.TenantID, AppID: a.ID, DeploymentID: deployment, BuildID: op.ID}
	return errors.Join(
		c.PutApp(c.ctx, *a),
		c.PutBuild(c.ctx, gestor.Build{
			ID:          op.ID,
			TenantID:    a.TenantID,
			AppID:       a.ID,
			Number:      a.LastBuild,
			Status:      gestor.BuildPending,
			Ref:         op.Ref,
			TaskID:      task.ID,
			TriggeredBy: c.actor.Name,
			CreatedAt:   c.at,
		}),
		c.addTasks([]command.CreateTask{{Task: task}}, owner),
	)
}

// beginBuild records that the build of a task runs.
func (c *change) beginBuild(t gestor.Task) error {
	b, err := c.buildOf(t)
	if err != nil || b.Status != gestor.BuildPending {
		return err
	}
	b.Status, b.StartedAt = gestor.BuildRunning, c.at
	return c.PutBuild(c.ctx, b)
}

// endBuild ends the build of a build task that ended.
func (c *change) endBuild(t gestor.Task) error {
	b, err := c.buildOf(t)
	if err != nil || b.ID == "" || b.Status.Ended() {
		return err
	}
	b.FinishedAt, b.Error = c.at, t.Error
	artifact, made := command.Artifact(t.Result)
	if made {
		b.Artifact = artifact
	}
	switch {
	case t.State == gestor.TaskCancelled:
		b.Status = gestor.BuildCancelled
	case t.State == gestor.TaskSucceeded && made && artifact.Digest != "":
		b.Status = gestor.BuildSuccess
	case t.State == gestor.TaskSucceeded:
		b.Status, b.Error = gestor.BuildFailed, "the agent reported a build without an artifact"
	default:
		b.Status = gestor.BuildFailed
	}
	return errors.Join(c.PutBuild(c.ctx, b), c.buildTurned(b, t))
}

// buildOf is the build a build task carries out; the zero build for other tasks.
func (c *change) buildOf(t gestor.Task) (gestor.Build, error) {
	if t.Kind != gestor.TaskBuild || t.BuildID == "" {
		return gestor.Build{}, nil
	}
	b, err := c.Build(c.ctx, t.BuildID)
	if none, err := absent(err); none || err != nil {
		return gestor.Build{}, err
	}
	return b, nil
}
