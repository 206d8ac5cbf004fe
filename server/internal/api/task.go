package api

import (
	"context"

	"connectrpc.com/connect"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// TaskDeps are what the task service needs; all of it.
type TaskDeps struct {
	Engine Engine
}

// TaskService shows the work that agents do.
type TaskService struct{ deps TaskDeps }

var _ gestorv1connect.TaskServiceHandler = (*TaskService)(nil)

// NewTaskService makes the service.
func NewTaskService(d TaskDeps) *TaskService { return &TaskService{deps: d} }

// ListTasks lists tasks, newest first.
func (s *TaskService) ListTasks(ctx context.Context, req *gestorv1.ListTasksRequest) (*gestorv1.ListTasksResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	filter, err := r.taskFilter(ctx, req)
	if err != nil {
		return nil, err
	}
	tasks, next, err := r.view.Tasks(ctx, filter, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	names, err := r.names(ctx)
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListTasksResponse{Page: pageOut(next)}
	for _, t := range tasks {
		out.Tasks = append(out.Tasks, taskOut(t, names))
	}
	return out, nil
}

func (r reach) taskFilter(ctx context.Context, req *gestorv1.ListTasksRequest) (state.TaskFilter, error) {
	f := state.TaskFilter{Active: req.GetActive()}
	if req.GetApp() != "" {
		app, err := r.app(ctx, req.GetApp())
		if err != nil {
			return f, err
		}
		f.App = app.ID
	}
	if req.GetNode() != "" {
		node, err := r.node(ctx, req.GetNode())
		if err != nil {
			return f, err
		}
		f.Node = node.ID
	}
	return f, nil
}

// GetTask returns one task.
func (s *TaskService) GetTask(ctx context.Context, req *gestorv1.GetTaskRequest) (*gestorv1.GetTaskResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	t, err := r.taskOut(ctx, req.GetId())
	return &gestorv1.GetTaskResponse{Task: t}, err
}

// task finds a task by id.
func (r reach) task(ctx context.Context, id string) (gestor.Task, error) {
	t, err := r.view.Task(ctx, gestor.TaskID(id))
	return t, absent(err, "task", id)
}

// taskOut finds a task and converts it.
func (r reach) taskOut(ctx context.Context, id string) (*gestorv1.Task, error) {
	t, err := r.task(ctx, id)
	if err != nil {
		return nil, err
	}
	names, err := r.names(ctx)
	if err != nil {
		return nil, err
	}
	return taskOut(t, names), nil
}

// CancelTask stops a task.
func (s *TaskService) CancelTask(ctx context.Context, req *gestorv1.CancelTaskRequest) (*gestorv1.CancelTaskResponse, error) {
	t, err := s.change(ctx, req.GetId(), func(id gestor.TaskID) command.Op { return command.CancelTask{ID: id} })
	return &gestorv1.CancelTaskResponse{Task: t}, err
}

// RetryTask queues a lost or failed task again.
func (s *TaskService) RetryTask(ctx context.Context, req *gestorv1.RetryTaskRequest) (*gestorv1.RetryTaskResponse, error) {
	t, err := s.change(ctx, req.GetId(), func(id gestor.TaskID) command.Op { return command.RetryTask{ID: id} })
	return &gestorv1.RetryTaskResponse{Task: t}, err
}

// change proposes an op for a task of the caller's tenant and returns the task after it.
func (s *TaskService) change(ctx context.Context, id string, op func(gestor.TaskID) command.Op) (*gestorv1.Task, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	t, err := r.task(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, "", op(t.ID)); err != nil {
		return nil, err
	}
	return r.taskOut(ctx, id)
}

// WatchTask sends the task whenever it changed, until it has ended.
func (s *TaskService) WatchTask(ctx context.Context, req *gestorv1.WatchTaskRequest, stream *connect.ServerStream[gestorv1.WatchTaskResponse]) error {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	if err := open(stream); err != nil {
		return err
	}
	sent := req.GetAfterRevision()
	return follow(ctx, s.deps.Engine, func() (bool, error) {
		t, err := r.task(ctx, req.GetId())
		if err != nil || t.Revision <= sent {
			return t.State.Ended(), err
		}
		names, err := r.names(ctx)
		if err != nil {
			return false, err
		}
		sent = t.Revision
		return t.State.Ended(), stream.Send(&gestorv1.WatchTaskResponse{Task: taskOut(t, names), Revision: sent})
	}, state.Tasks)
}
