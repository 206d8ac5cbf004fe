package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) deploymentsCmd() *cobra.Command {
	return noun("deployments", "The attempts to bring releases live", []string{"deployment"},
		r.deploymentsListCmd(), r.deploymentsShowCmd(), r.deploymentsCancelCmd(), r.deploymentsWatchCmd(),
		r.deploymentsApproveCmd(), r.deploymentsRejectCmd(), r.deploymentsOverrideCmd())
}

func (r *run) deploymentsListCmd() *cobra.Command {
	var limit int
	var waiting bool
	c := &cobra.Command{
		Use: "list [app]", Aliases: []string{"ls"}, Short: "List an app's deployments, newest first, or what waits for you",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: r.completeApps,
	}
	c.Flags().BoolVar(&waiting, "waiting", false, "list what waits for your approval, in all apps")
	limitFlag(c, &limit)
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		if waiting {
			return r.listWaiting(ctx, conn)
		}
		app, err := r.appName(ctx, conn, optional(args))
		if err != nil {
			return err
		}
		return r.listDeployments(ctx, conn, app, limit)
	})
	return c
}

func (r *run) listDeployments(ctx context.Context, conn *client.Client, app string, limit int) error {
	service := conn.Deployments()
	all, err := collect(limit, func(p *gestorv1.PageRequest) ([]*gestorv1.Deployment, *gestorv1.PageResponse, error) {
		res, err := service.ListDeployments(ctx, &gestorv1.ListDeploymentsRequest{App: app, Page: p})
		return res.GetDeployments(), res.GetPage(), err
	})
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(&gestorv1.ListDeploymentsResponse{Deployments: all})
	}
	t := output.NewTable("DEPLOYMENT", "STATE", "RELEASE", "COMMIT", "LIVE AFTER", "WHEN", "BY")
	for _, d := range all {
		t.Row(d.GetId(), r.deploymentState(d), d.GetRelease().GetName(), output.Short(d.GetRelease().GetCommit()),
			liveAfter(r.out, d), r.out.Ago(d.GetCreatedAt()), d.GetCreatedBy())
	}
	r.out.Table(t, app+" was never deployed; run: gestor deploy "+app)
	return nil
}

func liveAfter(p *output.Printer, d *gestorv1.Deployment) string {
	if d.GetLiveAt() == nil {
		return ""
	}
	return p.Between(d.GetCreatedAt(), d.GetLiveAt())
}

func (r *run) deploymentState(d *gestorv1.Deployment) output.Styled {
	state := r.out.State(output.Enum(d.GetState(), "DEPLOYMENT_STATE_"))
	if d.GetRollback() {
		state += ", rollback"
	}
	return state
}

func (r *run) deploymentsShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show <id>", Short: "Show a deployment: its phases and its nodes", Args: cobra.ExactArgs(1),
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Deployments().GetDeployment(ctx, &gestorv1.GetDeploymentRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return r.showDeployment(res.GetDeployment())
		}),
	}
}

func (r *run) showDeployment(d *gestorv1.Deployment) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetDeploymentResponse{Deployment: d})
	}
	r.out.Fields(
		[2]any{"deployment", d.GetId()}, [2]any{"state", r.deploymentState(d)}, [2]any{"error", d.GetError()},
		[2]any{"waiting", d.GetWaiting()}, [2]any{"build", number(int(d.GetBuild().GetNumber()))},
		[2]any{"release", d.GetRelease().GetName()}, [2]any{"commit", d.GetRelease().GetCommit()},
		[2]any{"message", d.GetRelease().GetMessage()}, [2]any{"by", d.GetCreatedBy()},
		[2]any{"approved by", approvers(d)}, [2]any{"asked for", r.out.Ago(d.GetCreatedAt())}, [2]any{"live after", liveAfter(r.out, d)},
	)
	for _, way := range r.waysOn(d) {
		r.out.Notef("%s", way)
	}
	phases := output.NewTable("PHASE", "TOOK")
	for _, ph := range d.GetPhases() {
		phases.Row(ph.GetName(), r.out.Between(ph.GetStartedAt(), ph.GetFinishedAt()))
	}
	r.out.Table(phases, "nothing has happened yet")
	if len(d.GetNodes()) == 0 {
		return nil
	}
	nodes := output.NewTable("NODE", "DOES", "STATE", "NEW RELEASE", "DETAIL")
	for _, n := range d.GetNodes() {
		nodes.Row(n.GetNodeName(), n.GetTaskKind(), r.out.State(n.GetTaskState()), set(n.GetSwitched()), nodeDetail(n))
	}
	r.out.Table(nodes, "")
	return nil
}

func nodeDetail(n *gestorv1.DeploymentNode) string {
	if n.GetError() != "" {
		return n.GetError()
	}
	return n.GetDetail()
}

func (r *run) deploymentsCancelCmd() *cobra.Command {
	return &cobra.Command{
		Use: "cancel <id>", Short: "Stop a deployment; nodes already switched go back", Args: cobra.ExactArgs(1),
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Deployments().CancelDeployment(ctx, &gestorv1.CancelDeploymentRequest{Id: args[0]})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("deployment %s is being stopped", args[0])
			r.out.Notef("watch it with: gestor deployments watch %s", args[0])
			return nil
		}),
	}
}

func (r *run) deploymentsWatchCmd() *cobra.Command {
	var o watchOptions
	c := &cobra.Command{
		Use: "watch <id>", Short: "Follow a deployment to its end", Args: cobra.ExactArgs(1),
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Deployments().GetDeployment(ctx, &gestorv1.GetDeploymentRequest{Id: args[0]})
			if err != nil {
				return err
			}
			d := res.GetDeployment()
			return r.follow(ctx, conn, r.slugOf(ctx, conn, d.GetAppId()), d, o)
		}),
	}
	o.flags(c)
	_ = c.Flags().MarkHidden("no-wait")
	return c
}

// slugOf is the app's slug, or its id if it cannot be told.
func (r *run) slugOf(ctx context.Context, conn *client.Client, id string) string {
	if r.out.JSON {
		return id
	}
	res, err := conn.Apps().GetApp(ctx, &gestorv1.GetAppRequest{App: id})
	if err != nil {
		return id
	}
	return res.GetApp().GetSlug()
}
