package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) tasksCmd() *cobra.Command {
	return noun("tasks", "The work of the agents", []string{"task"},
		r.tasksListCmd(), r.tasksShowCmd(), r.tasksCancelCmd(), r.tasksRetryCmd(), r.tasksWatchCmd())
}

func (r *run) tasksListCmd() *cobra.Command {
	var limit int
	req := &gestorv1.ListTasksRequest{}
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List tasks, newest first", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			service := conn.Tasks()
			tasks, err := collect(limit, func(p *gestorv1.PageRequest) ([]*gestorv1.Task, *gestorv1.PageResponse, error) {
				req.Page = p
				res, err := service.ListTasks(ctx, req)
				return res.GetTasks(), res.GetPage(), err
			})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListTasksResponse{Tasks: tasks})
			}
			t := output.NewTable("TASK", "KIND", "STATE", "NODE", "WHEN", "TOOK", "DETAIL")
			for _, k := range tasks {
				t.Row(k.GetId(), k.GetKind(), r.taskState(k), k.GetNodeName(), r.out.Ago(k.GetCreatedAt()),
					r.out.Between(k.GetStartedAt(), k.GetFinishedAt()), output.Cut(output.Clean(taskDetail(k)), 60))
			}
			r.out.Table(t, "no tasks")
			return nil
		}),
	}
	c.Flags().StringVarP(&req.App, "app", "a", "", "only those of this app")
	c.Flags().StringVar(&req.Node, "node", "", "only those of this node")
	c.Flags().BoolVar(&req.Active, "active", false, "only those not ended")
	_ = c.RegisterFlagCompletionFunc("app", r.completeApps)
	_ = c.RegisterFlagCompletionFunc("node", r.completeNodes)
	limitFlag(c, &limit)
	return c
}

func (r *run) taskState(t *gestorv1.Task) output.Styled {
	state := r.out.State(output.Enum(t.GetState(), "TASK_STATE_"))
	if t.GetCancelling() && !taskEnded(t) {
		state += ", stopping"
	}
	return state
}

func taskDetail(t *gestorv1.Task) string {
	switch {
	case t.GetError() != "":
		return t.GetError()
	case t.GetWaiting() != "" && !taskEnded(t):
		return t.GetWaiting()
	case t.GetPhase() != "" && t.GetPercent() > 0 && !taskEnded(t):
		return fmt.Sprintf("%s %d%%", t.GetPhase(), t.GetPercent())
	default:
		return t.GetPhase()
	}
}

// taskEnded reports whether nothing more happens by itself. A lost task waits for a person.
func taskEnded(t *gestorv1.Task) bool {
	switch t.GetState() {
	case gestorv1.TaskState_TASK_STATE_SUCCEEDED, gestorv1.TaskState_TASK_STATE_FAILED,
		gestorv1.TaskState_TASK_STATE_CANCELLED, gestorv1.TaskState_TASK_STATE_LOST:
		return true
	default:
		return false
	}
}

func (r *run) tasksShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show <id>", Short: "Show a task", Args: cobra.ExactArgs(1),
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Tasks().GetTask(ctx, &gestorv1.GetTaskRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return r.showTask(res.GetTask())
		}),
	}
}

func (r *run) showTask(t *gestorv1.Task) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetTaskResponse{Task: t})
	}
	attempt := ""
	if t.GetAttempt() > 0 {
		attempt = fmt.Sprintf("%d of %d", t.GetAttempt(), t.GetMaxAttempts())
	}
	r.out.Fields(
		[2]any{"task", t.GetId()}, [2]any{"kind", t.GetKind()}, [2]any{"state", r.taskState(t)},
		[2]any{"detail", taskDetail(t)}, [2]any{"node", t.GetNodeName()}, [2]any{"app", t.GetAppId()},
		[2]any{"deployment", t.GetDeploymentId()}, [2]any{"attempt", attempt},
		[2]any{"asked for", r.out.Ago(t.GetCreatedAt())}, [2]any{"not before", r.out.Ago(t.GetNotBefore())},
		[2]any{"took", r.out.Between(t.GetStartedAt(), t.GetFinishedAt())},
	)
	if t.GetState() == gestorv1.TaskState_TASK_STATE_LOST {
		r.out.Notef("its node is gone and nobody knows how far it came; decide with: gestor tasks retry %s, or gestor tasks cancel %s",
			t.GetId(), t.GetId())
	}
	return nil
}

func (r *run) tasksCancelCmd() *cobra.Command {
	return &cobra.Command{
		Use: "cancel <id>", Short: "Stop a task and kill its processes", Args: cobra.ExactArgs(1),
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Tasks().CancelTask(ctx, &gestorv1.CancelTaskRequest{Id: args[0]})
			return r.changedTask(res.GetTask(), err, "is being stopped")
		}),
	}
}

func (r *run) tasksRetryCmd() *cobra.Command {
	return &cobra.Command{
		Use: "retry <id>", Short: "Queue a lost or failed task again", Args: cobra.ExactArgs(1),
		Long: "Queue a lost or failed task again. A lost task may still be running on its node: look there first.",
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Tasks().RetryTask(ctx, &gestorv1.RetryTaskRequest{Id: args[0]})
			return r.changedTask(res.GetTask(), err, "is queued again")
		}),
	}
}

func (r *run) changedTask(t *gestorv1.Task, err error, what string) error {
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetTaskResponse{Task: t})
	}
	r.out.Linef("task %s %s", t.GetId(), what)
	return nil
}

func (r *run) tasksWatchCmd() *cobra.Command {
	return &cobra.Command{
		Use: "watch <id>", Short: "Print a task as it changes, until it has ended", Args: cobra.ExactArgs(1),
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			var last *gestorv1.Task
			err := r.followTask(ctx, conn, args[0], func(m *gestorv1.WatchTaskResponse) error {
				last = m.GetTask()
				if r.out.JSON {
					return r.out.Event(m)
				}
				r.out.Linef("%s  %s  %s", r.taskState(last), last.GetNodeName(), taskDetail(last))
				return nil
			})
			if err != nil {
				return err
			}
			return taskOutcome(last)
		}),
	}
}

func taskOutcome(t *gestorv1.Task) error {
	if t.GetState() == gestorv1.TaskState_TASK_STATE_SUCCEEDED {
		return nil
	}
	return failed("task %s %s: %s", t.GetId(), output.Enum(t.GetState(), "TASK_STATE_"), t.GetError()).
		withFix("see: gestor logs --task %s", t.GetId())
}
