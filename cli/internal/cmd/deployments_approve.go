package cmd

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) deploymentsApproveCmd() *cobra.Command {
	var comment string
	c := &cobra.Command{
		Use: "approve <id>", Short: "Let a deployment that somebody else asked for go live", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeWaiting,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Deployments().ApproveDeployment(ctx, &gestorv1.ApproveDeploymentRequest{Id: args[0], Comment: comment, RequestId: requestID()})
			if err != nil {
				return err
			}
			return r.decided(res.GetDeployment(), "approved")
		}),
	}
	c.Flags().StringVarP(&comment, "comment", "m", "", "what the one who asked and the audit log are told")
	return c
}

func (r *run) deploymentsRejectCmd() *cobra.Command {
	var comment string
	c := &cobra.Command{
		Use: "reject <id>", Short: "End a deployment that waits for approval", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeWaiting,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			if strings.TrimSpace(comment) == "" {
				return fault.Invalid("--comment", "whoever asked wants to know why").WithFix(`add --comment "…"`)
			}
			res, err := conn.Deployments().RejectDeployment(ctx, &gestorv1.RejectDeploymentRequest{Id: args[0], Comment: comment, RequestId: requestID()})
			if err != nil {
				return err
			}
			return r.decided(res.GetDeployment(), "rejected")
		}),
	}
	c.Flags().StringVarP(&comment, "comment", "m", "", "why; the one who asked is told")
	return c
}

func (r *run) deploymentsOverrideCmd() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "override-freeze <id>", Short: "Let a deployment go live although its environment is frozen", Args: cobra.ExactArgs(1),
		Long: `Let one deployment go live although its environment is frozen. It needs its approvals all the same. The reason is kept in
the audit log.`,
		ValidArgsFunction: r.completeWaiting,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return fault.Invalid("--reason", "a freeze is overridden for a reason").WithFix(`add --reason "…"`)
			}
			res, err := conn.Deployments().OverrideFreeze(ctx, &gestorv1.OverrideFreezeRequest{Id: args[0], Reason: reason, RequestId: requestID()})
			if err != nil {
				return err
			}
			return r.decided(res.GetDeployment(), "let through the freeze")
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why it cannot wait")
	return c
}

// decided says what was decided, and what the deployment still waits for.
func (r *run) decided(d *gestorv1.Deployment, what string) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetDeploymentResponse{Deployment: d})
	}
	r.out.Linef("deployment %s is %s", d.GetId(), what)
	if missing := missingApprovals(d); missing > 0 && what != "rejected" {
		r.out.Notef("it waits for %d of %d approvals", missing, d.GetHold().GetNeeded())
	}
	r.out.Notef("watch it with: gestor deployments watch %s", d.GetId())
	return nil
}

func missingApprovals(d *gestorv1.Deployment) int {
	return max(0, int(d.GetHold().GetNeeded())-len(d.GetHold().GetApprovals()))
}

// listWaiting lists what waits for the caller's approval.
func (r *run) listWaiting(ctx context.Context, conn *client.Client) error {
	res, err := conn.Deployments().ListWaitingDeployments(ctx, &gestorv1.ListWaitingDeploymentsRequest{ForMe: true})
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(res)
	}
	t := output.NewTable("APP", "DEPLOYMENT", "RELEASE", "COMMIT", "BY", "WHEN", "WAITS")
	for _, w := range res.GetDeployments() {
		d := w.GetDeployment()
		t.Row(w.GetApp(), d.GetId(), d.GetRelease().GetName(), output.Short(d.GetRelease().GetCommit()), d.GetCreatedBy(),
			r.out.Ago(d.GetCreatedAt()), d.GetWaiting())
	}
	r.out.Table(t, "nothing waits for your approval")
	if len(res.GetDeployments()) > 0 {
		r.out.Notef("approve with: gestor deployments approve <deployment>")
	}
	return nil
}

// completeWaiting completes the deployments that wait.
func (r *run) completeWaiting(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		res, err := conn.Deployments().ListWaitingDeployments(ctx, &gestorv1.ListWaitingDeploymentsRequest{})
		var ids []string
		for _, w := range res.GetDeployments() {
			ids = append(ids, output.Clean(w.GetDeployment().GetId()+"\t"+w.GetApp()+" by "+w.GetDeployment().GetCreatedBy()))
		}
		return ids, err
	})
}

// waysOn says who can let a deployment that waits go on, and how.
func (r *run) waysOn(d *gestorv1.Deployment) []string {
	h := d.GetHold()
	var ways []string
	if missingApprovals(d) > 0 {
		who := "somebody else with the role " + strings.Join(h.GetRoles(), " or ")
		if h.GetYouMayApprove() {
			who = "you"
		}
		way := "  " + who + " can approve it:  gestor deployments approve " + d.GetId()
		if t := h.GetExpiresAt(); t != nil {
			way += "  (until " + t.AsTime().UTC().Format("Mon 2 Jan 15:04 MST") + ")"
		}
		ways = append(ways, way)
	}
	if h.GetFreeze() != nil {
		ways = append(ways, "  an admin can let it through the freeze:  gestor deployments override-freeze "+d.GetId()+` --reason "…"`)
	}
	return ways
}

// approvers are those who approved a deployment, of how many it needs.
func approvers(d *gestorv1.Deployment) string {
	if d.GetHold().GetNeeded() == 0 {
		return ""
	}
	var names []string
	for _, a := range d.GetHold().GetApprovals() {
		name := a.GetBy()
		if a.GetComment() != "" {
			name += " (" + a.GetComment() + ")"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		names = []string{"nobody"}
	}
	return strings.Join(names, ", ") + "; " + number(int(d.GetHold().GetNeeded())) + " needed"
}
