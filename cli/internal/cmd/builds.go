package cmd

import (
	"context"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) buildCmd() *cobra.Command {
	var ref string
	var noWait bool
	c := &cobra.Command{
		Use: "build [app]", Short: "Build without deploying", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: r.completeApps,
		RunE: r.withApp(func(ctx context.Context, conn *client.Client, app string) error {
			res, err := conn.Builds().CreateBuild(ctx, &gestorv1.CreateBuildRequest{App: app, Ref: ref, RequestId: requestID()})
			if err != nil {
				return err
			}
			if noWait {
				return r.showBuild(res.GetBuild())
			}
			return r.followBuild(ctx, conn, app, res.GetBuild())
		}),
	}
	c.Flags().StringVar(&ref, "ref", "", "branch, tag or commit; the app's branch if not given")
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for it")
	return c
}

// followBuild prints a build's log until it has ended, and then what became of it.
func (r *run) followBuild(ctx context.Context, conn *client.Client, app string, b *gestorv1.Build) error {
	r.out.Notef("building %s, build %d", app, b.GetNumber())
	if err := r.tailTask(ctx, conn, b.GetTaskId(), tailOptions{follow: true}); err != nil {
		return cause(ctx, err)
	}
	if err := r.awaitTask(ctx, conn, b.GetTaskId()); err != nil {
		return cause(ctx, err)
	}
	got, err := conn.Builds().GetBuild(ctx, &gestorv1.GetBuildRequest{Id: b.GetId()})
	if err != nil {
		return err
	}
	b = got.GetBuild()
	if b.GetStatus() != gestorv1.BuildStatus_BUILD_STATUS_SUCCESS {
		return failed("build %d of %s %s: %s", b.GetNumber(), app, output.Enum(b.GetStatus(), "BUILD_STATUS_"), b.GetError()).
			withFix("see: gestor logs %s --build %d", app, b.GetNumber())
	}
	if r.out.JSON {
		return r.out.Event(got)
	}
	r.out.Linef("built %s in %s, %s", output.Short(b.GetCommit()), r.out.Between(b.GetStartedAt(), b.GetFinishedAt()), output.Bytes(b.GetArtifactBytes()))
	r.out.Notef("next: gestor deploy %s --build %d", app, b.GetNumber())
	return nil
}

// awaitTask waits for a task's end.
func (r *run) awaitTask(ctx context.Context, conn *client.Client, id string) error {
	return r.followTask(ctx, conn, id, func(*gestorv1.WatchTaskResponse) error { return nil })
}

// followTask gives each state of a task until it has ended.
func (r *run) followTask(ctx context.Context, conn *client.Client, id string, each func(*gestorv1.WatchTaskResponse) error) error {
	var after uint64
	ended := false
	f := &client.Follow[gestorv1.WatchTaskResponse]{
		Open: func(ctx context.Context) (*connect.ServerStreamForClient[gestorv1.WatchTaskResponse], error) {
			return conn.Tasks().WatchTask(ctx, &gestorv1.WatchTaskRequest{Id: id, AfterRevision: after})
		},
		Each: func(m *gestorv1.WatchTaskResponse) error {
			after = max(after, m.GetRevision())
			if err := each(m); err != nil {
				return err
			}
			if ended = taskEnded(m.GetTask()); ended {
				return client.ErrStop
			}
			return nil
		},
		Whole:  func() bool { return ended },
		Broken: func(error) { r.out.Notef("connection lost, reconnecting") },
		Back:   func() { r.out.Notef("reconnected") },
		Grace:  grace(conn),
	}
	return f.Run(ctx)
}

func (r *run) buildsCmd() *cobra.Command {
	return noun("builds", "The builds of an app", nil, r.buildsListCmd(), r.buildsShowCmd(), r.buildsCancelCmd())
}

func (r *run) buildsListCmd() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "list [app]", Aliases: []string{"ls"}, Short: "List an app's builds, newest first", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: r.completeApps,
		RunE: r.withApp(func(ctx context.Context, conn *client.Client, app string) error {
			service := conn.Builds()
			builds, err := collect(limit, func(p *gestorv1.PageRequest) ([]*gestorv1.Build, *gestorv1.PageResponse, error) {
				res, err := service.ListBuilds(ctx, &gestorv1.ListBuildsRequest{App: app, Page: p})
				return res.GetBuilds(), res.GetPage(), err
			})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListBuildsResponse{Builds: builds})
			}
			t := output.NewTable("BUILD", "STATUS", "REF", "COMMIT", "MESSAGE", "TOOK", "WHEN", "BY")
			for _, b := range builds {
				t.Row(number(int(b.GetNumber())), r.out.State(output.Enum(b.GetStatus(), "BUILD_STATUS_")), b.GetRef(), output.Short(b.GetCommit()),
					output.Cut(output.Clean(b.GetMessage()), 40), r.out.Between(b.GetStartedAt(), b.GetFinishedAt()),
					r.out.Ago(b.GetCreatedAt()), b.GetTriggeredBy())
			}
			r.out.Table(t, app+" has no builds yet; run: gestor deploy "+app)
			return nil
		}),
	}
	limitFlag(c, &limit)
	return c
}

func limitFlag(c *cobra.Command, limit *int) {
	c.Flags().IntVar(limit, "limit", 20, "at most this many; 0 lists all")
}

func (r *run) buildsShowCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "show [app] <number|id>", Short: "Show a build", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: r.completeApps,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			b, err := r.build(ctx, conn, args)
			if err != nil {
				return err
			}
			return r.showBuild(b)
		}),
	}
	return c
}

// build finds a build by id, or by number in an app.
func (r *run) build(ctx context.Context, conn *client.Client, args []string) (*gestorv1.Build, error) {
	which := args[len(args)-1]
	req := &gestorv1.GetBuildRequest{Id: which}
	if !strings.HasPrefix(which, "bld_") {
		n, err := strconv.ParseInt(strings.TrimPrefix(which, "#"), 10, 64)
		if err != nil || n < 1 {
			return nil, fault.Invalid("build", "%q is neither a build's number nor its id", which).WithFix("see: gestor builds list")
		}
		app, err := r.appName(ctx, conn, optional(args[:len(args)-1]))
		if err != nil {
			return nil, err
		}
		req = &gestorv1.GetBuildRequest{App: app, Number: n}
	}
	res, err := conn.Builds().GetBuild(ctx, req)
	return res.GetBuild(), err
}

func (r *run) showBuild(b *gestorv1.Build) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetBuildResponse{Build: b})
	}
	r.out.Fields(
		[2]any{"build", number(int(b.GetNumber()))}, [2]any{"id", b.GetId()},
		[2]any{"status", r.out.State(output.Enum(b.GetStatus(), "BUILD_STATUS_"))}, [2]any{"error", b.GetError()},
		[2]any{"ref", b.GetRef()}, [2]any{"commit", b.GetCommit()}, [2]any{"message", b.GetMessage()}, [2]any{"author", b.GetAuthor()},
		[2]any{"kind", output.Enum(b.GetKind(), "APP_KIND_")}, [2]any{"artifact", b.GetArtifactDigest()},
		[2]any{"size", output.Bytes(b.GetArtifactBytes())}, [2]any{"task", b.GetTaskId()}, [2]any{"by", b.GetTriggeredBy()},
		[2]any{"asked for", r.out.Ago(b.GetCreatedAt())}, [2]any{"took", r.out.Between(b.GetStartedAt(), b.GetFinishedAt())},
	)
	return nil
}

func (r *run) buildsCancelCmd() *cobra.Command {
	return &cobra.Command{
		Use: "cancel [app] <number|id>", Short: "Stop a build and kill its processes", Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: r.completeApps,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			id := args[len(args)-1]
			if !strings.HasPrefix(id, "bld_") {
				b, err := r.build(ctx, conn, args)
				if err != nil {
					return err
				}
				id = b.GetId()
			}
			res, err := conn.Builds().CancelBuild(ctx, &gestorv1.CancelBuildRequest{Id: id})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("build %d is being stopped", res.GetBuild().GetNumber())
			return nil
		}),
	}
}
