package cmd

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type logsOptions struct {
	follow                        bool
	last                          int32
	node, build, task, deployment string
}

func (r *run) logsCmd() *cobra.Command {
	var o logsOptions
	c := &cobra.Command{
		Use: "logs [app]", Short: "Show what an app prints, or the log of a build, task or deployment", Args: cobra.MaximumNArgs(1),
		Example: `  gestor logs blog -f
  gestor logs blog --build 12
  gestor logs --deployment dep_…`,
		ValidArgsFunction: r.completeApps,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			return r.logs(ctx, conn, args, o)
		}),
	}
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	f.Int32VarP(&o.last, "last", "n", 0, "begin with the last so many lines (an app: 100 of each node; a task: all)")
	f.StringVar(&o.node, "node", "", "only this node's lines")
	f.StringVar(&o.build, "build", "", "the log of this build, number or id")
	f.StringVar(&o.task, "task", "", "the log of this task")
	f.StringVar(&o.deployment, "deployment", "", "the logs of this deployment: its build and its nodes")
	c.MarkFlagsMutuallyExclusive("build", "task", "deployment")
	_ = c.RegisterFlagCompletionFunc("node", r.completeNodes)
	return c
}

func (r *run) logs(ctx context.Context, conn *client.Client, args []string, o logsOptions) error {
	tail := tailOptions{follow: o.follow, last: o.last}
	switch {
	case o.task != "":
		return r.tailTask(ctx, conn, o.task, tail)
	case o.build != "":
		b, err := r.build(ctx, conn, append(args, o.build))
		if err != nil {
			return err
		}
		return r.tailTask(ctx, conn, b.GetTaskId(), tail)
	case o.deployment != "":
		return r.deploymentLogs(ctx, conn, o, tail)
	}
	app, err := r.appName(ctx, conn, optional(args))
	if err != nil {
		return err
	}
	return r.tailApp(ctx, conn, app, o)
}

// deploymentLogs prints the build's log and then those of the tasks that the nodes have reached.
func (r *run) deploymentLogs(ctx context.Context, conn *client.Client, o logsOptions, tail tailOptions) error {
	res, err := conn.Deployments().GetDeployment(ctx, &gestorv1.GetDeploymentRequest{Id: o.deployment})
	if err != nil {
		return err
	}
	d := res.GetDeployment()
	if id := d.GetBuild().GetTaskId(); id != "" && o.node == "" {
		r.out.Linef("%s", r.out.Paint(output.Bold, "==> build"))
		if err := r.tailTask(ctx, conn, id, tail); err != nil {
			return err
		}
	}
	for _, n := range d.GetNodes() {
		if n.GetTaskId() == "" || (o.node != "" && o.node != n.GetNodeName() && o.node != n.GetNodeId()) {
			continue
		}
		r.out.Linef("%s", r.out.Paint(output.Bold, "==> "+n.GetTaskKind()+" on "+n.GetNodeName()))
		if err := r.tailTask(ctx, conn, n.GetTaskId(), tail); err != nil {
			return err
		}
	}
	return nil
}

type tailOptions struct {
	follow bool
	last   int32
}

// tailTask prints a task's log. Lines are printed once, whatever the connection does.
func (r *run) tailTask(ctx context.Context, conn *client.Client, id string, o tailOptions) error {
	f := taskTail(conn, id, o, func(m *gestorv1.TailTaskLogResponse) error {
		if r.out.JSON {
			return r.out.Event(m)
		}
		r.printLines(output.Styled(""), m.GetLines())
		return nil
	})
	f.Broken = func(error) { r.out.Notef("connection lost, reconnecting") }
	f.Back = func() { r.out.Notef("reconnected") }
	f.Grace = grace(conn)
	return f.Run(ctx)
}

// taskTail follows a task's log by the number of its last line.
func taskTail(conn *client.Client, id string, o tailOptions, each func(*gestorv1.TailTaskLogResponse) error) *client.Follow[gestorv1.TailTaskLogResponse] {
	var after uint64
	return &client.Follow[gestorv1.TailTaskLogResponse]{
		Open: func(ctx context.Context) (*connect.ServerStreamForClient[gestorv1.TailTaskLogResponse], error) {
			req := &gestorv1.TailTaskLogRequest{TaskId: id, AfterSeq: after, Follow: o.follow}
			if after == 0 {
				req.Last = o.last
			}
			return conn.Logs().TailTaskLog(ctx, req)
		},
		Each: func(m *gestorv1.TailTaskLogResponse) error {
			if n := len(m.GetLines()); n > 0 {
				after = max(after, m.GetLines()[n-1].GetSeq())
			}
			return each(m)
		},
	}
}

// tailApp prints what an app prints. Lines are printed once, as far as that can be told.
func (r *run) tailApp(ctx context.Context, conn *client.Client, app string, o logsOptions) error {
	nodes := map[string]*shown{}
	f := &client.Follow[gestorv1.TailAppLogResponse]{
		Open: func(ctx context.Context) (*connect.ServerStreamForClient[gestorv1.TailAppLogResponse], error) {
			req := &gestorv1.TailAppLogRequest{App: app, Node: o.node, Last: o.last, Follow: o.follow, LastOf: map[string]int32{}}
			for name, n := range nodes {
				if n.last() > 0 {
					n.again()
					req.LastOf[name] = n.last()
				}
			}
			return conn.Logs().TailAppLog(ctx, req)
		},
		Each: func(m *gestorv1.TailAppLogResponse) error {
			n, ok := nodes[m.GetNodeName()]
			if !ok {
				n = &shown{}
				nodes[m.GetNodeName()] = n
			}
			return r.printApp(m, n)
		},
		Broken: func(error) { r.out.Notef("connection lost, reconnecting") },
		Back:   func() { r.out.Notef("reconnected") },
		Grace:  grace(conn),
	}
	return f.Run(ctx)
}

func (r *run) printApp(m *gestorv1.TailAppLogResponse, n *shown) error {
	if m.GetAgain() {
		n.again()
	}
	var lost bool
	if m.Lines, lost = n.fresh(m.GetLines()); lost {
		r.out.Notef("%s: lines printed while the connection was away may be missing", m.GetNodeName())
	}
	if len(m.GetLines()) == 0 && m.GetNotice() == "" {
		return nil
	}
	if r.out.JSON {
		return r.out.Event(m)
	}
	if m.GetNotice() != "" {
		r.out.Notef("%s: %s", m.GetNodeName(), m.GetNotice())
	}
	r.printLines(r.out.Paint(output.Cyan, m.GetNodeName())+"  ", m.GetLines())
	return nil
}

// clock is when a line was read, in this computer's time.
func clock(l *gestorv1.LogLine) string {
	if l.GetAt() == nil {
		return "        "
	}
	return l.GetAt().AsTime().In(time.Local).Format(time.TimeOnly)
}

func (r *run) printLines(prefix output.Styled, lines []*gestorv1.LogLine) {
	for _, l := range lines {
		stamp := r.out.Paint(output.Dim, clock(l))
		text := output.Styled(output.CleanLog(l.GetText(), r.out.Colours))
		if l.GetStream() == gestorv1.LogStream_LOG_STREAM_GESTOR {
			text = r.out.Paint(output.Yellow, "gestor: "+l.GetText())
		}
		r.out.Linef("%s  %s%s", stamp, prefix, text)
	}
}
