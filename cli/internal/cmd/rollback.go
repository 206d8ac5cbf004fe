package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) rollbackCmd() *cobra.Command {
	var o watchOptions
	c := &cobra.Command{
		Use: "rollback [app] [release]", Short: "Go back to an earlier release, at once", Args: cobra.MaximumNArgs(2),
		Long: `Switch to a release that is still on the nodes: no build, no download. Without a release it is the last good one before the
live one.`,
		Example: `  gestor rollback blog
  gestor rollback blog 20261123-193005`,
		ValidArgsFunction: r.completeReleases,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			app, err := r.appName(ctx, conn, optional(args))
			if err != nil {
				return err
			}
			req := &gestorv1.RollbackRequest{App: app, RequestId: requestID()}
			if len(args) == 2 {
				req.Release = args[1]
			}
			res, err := conn.Deployments().Rollback(ctx, req)
			if err != nil {
				return hintLocked(err, app)
			}
			return r.follow(ctx, conn, app, res.GetDeployment(), o)
		}),
	}
	o.flags(c)
	return c
}
