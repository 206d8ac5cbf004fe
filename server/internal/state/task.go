package state

import (
	"context"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var tasks = newTable(Tasks, "tasks", []string{"id"}, func(t *gestor.Task) []column {
	return []column{
		{"id", &t.ID},
		{"tenant_id", &t.TenantID},
		{"kind", &t.Kind},
		{"state", &t.State},
		{"node_id", &t.NodeID},
		{"candidates_json", &t.Candidates},
		{"app_id", &t.AppID},
		{"deployment_id", &t.DeploymentID},
		{"build_id", &t.BuildID},
		{"spec", &t.Spec},
		{"resource", &t.Resource},
		{"attempt", &t.Attempt},
		{"max_attempts", &t.MaxAttempts},
		{"fence", &t.Fence},
		{"priority", &t.Priority},
		{"not_before", &t.NotBefore},
		{"timeout", &t.Timeout},
		{"deadline", &t.Deadline},
		{"on_lost", &t.OnLost},
		{"waiting", &t.Waiting},
		{"phase", &t.Phase},
		{"percent", &t.Percent},
		{"error", &t.Error},
		{"cancelling", &t.Cancelling},
		{"result", &t.Result},
		{"created_at", &t.CreatedAt},
		{"started_at", &t.StartedAt},
		{"finished_at", &t.FinishedAt},
		{"revision", &t.Revision},
	}
}).within(bounds{app: "app_id"})

var tasksByAge = order[gestor.Task]{by: "created_at", desc: true, key: func(t gestor.Task) cursor {
	return cursor{Number: nanos(t.CreatedAt), ID: string(t.ID)}
}}

// Task is a task.
func (v *View) Task(ctx context.Context, id gestor.TaskID) (gestor.Task, error) {
	return one(ctx, v, tasks, "task", " AND id = ?", string(id))
}

// TaskFilter narrows a list of tasks; the zero value takes all.
type TaskFilter struct {
	App        gestor.AppID
	Node       gestor.NodeID
	Deployment gestor.DeploymentID
	Active     bool               // only those that have not ended
	States     []gestor.TaskState // only those in one of these
}

func (f TaskFilter) condition() (string, []any) {
	var rest strings.Builder
	var args []any
	equal := func(column, value string) {
		if value != "" {
			rest.WriteString(" AND " + column + " = ?")
			args = append(args, value)
		}
	}
	equal("app_id", string(f.App))
	equal("node_id", string(f.Node))
	equal("deployment_id", string(f.Deployment))
	if f.Active {
		rest.WriteString(" AND state IN ('queued', 'leased', 'running')")
	}
	if len(f.States) > 0 {
		rest.WriteString(" AND state IN (?" + strings.Repeat(", ?", len(f.States)-1) + ")")
	}
	for _, s := range f.States {
		args = append(args, string(s))
	}
	return rest.String(), args
}

// Tasks are the tasks that pass a filter, the newest first.
func (v *View) Tasks(ctx context.Context, f TaskFilter, page gestor.Page) ([]gestor.Task, string, error) {
	rest, args := f.condition()
	return list(ctx, v, tasks, tasksByAge, page, rest, args...)
}

// TasksByDeployment are a deployment's tasks, the oldest first.
func (v *View) TasksByDeployment(ctx context.Context, id gestor.DeploymentID) ([]gestor.Task, error) {
	return many(ctx, v, tasks, " AND deployment_id = ? AND deployment_id <> '' ORDER BY created_at, id", string(id))
}

// QueuedTasks are the tasks that wait, in the order they are to be given out: priority, then age. NotBefore may be in
// the future.
func (v *View) QueuedTasks(ctx context.Context) ([]gestor.Task, error) {
	return many(ctx, v, tasks, " AND state = 'queued' ORDER BY priority DESC, created_at, id")
}

// HeldTasks are the tasks a node holds, or any node if it is empty, the oldest first.
func (v *View) HeldTasks(ctx context.Context, node gestor.NodeID) ([]gestor.Task, error) {
	if node == "" {
		return many(ctx, v, tasks, held)
	}
	return many(ctx, v, tasks, " AND state IN ('leased', 'running') AND node_id = ? ORDER BY created_at, id", string(node))
}

// A + keeps SQLite from an index that would have it walk all tasks there ever were, or all of an app: those under way
// are few.
const (
	held     = " AND state IN ('leased', 'running') ORDER BY +created_at, id"
	heldOf   = " AND state IN ('leased', 'running') AND +app_id = ? ORDER BY +created_at, id"
	queuedOf = " AND state = 'queued' AND +app_id = ? ORDER BY +created_at, id"
)

// ActiveTasks are the tasks of an app that have not ended: those held by nodes, then those queued, each the oldest first.
func (v *View) ActiveTasks(ctx context.Context, app gestor.AppID) ([]gestor.Task, error) {
	active, err := many(ctx, v, tasks, heldOf, string(app))
	if err != nil {
		return nil, err
	}
	queued, err := many(ctx, v, tasks, queuedOf, string(app))
	return append(active, queued...), err
}

// LastTaskRevision is the revision of the newest change of a task; 0 without tasks.
func (v *View) LastTaskRevision(ctx context.Context) (uint64, error) {
	where, args := v.where(tasks.bounds)
	n, err := number(ctx, v.from, "SELECT coalesce(max(revision), 0) FROM tasks "+where, args...)
	return uint64(n), err
}

// PutTask writes a task.
func (x *Txn) PutTask(ctx context.Context, t gestor.Task) error {
	t.Revision = x.Revision
	return tasks.save(ctx, x, &t)
}

const pruneTasks = `
DELETE FROM tasks
WHERE state IN ('succeeded', 'failed', 'cancelled', 'lost')
  AND finished_at < ?
  AND NOT EXISTS (
    SELECT 1
    FROM deployments
    WHERE deployments.id = tasks.deployment_id AND deployments.ended = 0)
  AND NOT EXISTS (
    SELECT 1
    FROM builds
    WHERE builds.id = tasks.build_id AND builds.status IN ('pending', 'running'))
  AND NOT EXISTS (
    SELECT 1
    FROM applications
    WHERE applications.id = tasks.app_id AND applications.status = 'deleting')`

// PruneTasks removes tasks that ended before a time and that no deployment, build or removal under way needs.
func (x *Txn) PruneTasks(ctx context.Context, before time.Time) error {
	x.touch(Tasks)
	return x.exec(ctx, pruneTasks, nanos(before))
}
