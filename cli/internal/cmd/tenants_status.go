package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) tenantsSuspendCmd() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "suspend <tenant>", Short: "Let a tenant change nothing; what runs goes on (operators)", Args: cobra.ExactArgs(1),
		Long: `Let a tenant change nothing. Its apps go on running, its people sign in and read, and every change is refused with the reason.
Deployments that have begun go on to their end.`,
		Example:           `  gestor tenants suspend acme --reason "the invoice of October is open"`,
		ValidArgsFunction: r.completeTenants,
	}
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		if reason == "" {
			return usage(c, "a reason is missing, which the tenant's people read; add --reason")
		}
		res, err := conn.Tenants().SuspendTenant(ctx, &gestorv1.SuspendTenantRequest{RequestId: requestID(), Tenant: args[0], Reason: reason})
		return r.changedTenant(res.GetTenant(), err, "is suspended; undo with: gestor tenants resume "+args[0])
	})
	c.Flags().StringVar(&reason, "reason", "", "why; the tenant's people read it")
	return c
}

func (r *run) tenantsResumeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "resume <tenant>", Short: "Let a suspended or cancelled tenant change things again (operators)", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeTenants,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Tenants().ResumeTenant(ctx, &gestorv1.ResumeTenantRequest{RequestId: requestID(), Tenant: args[0]})
			return r.changedTenant(res.GetTenant(), err, "is active again")
		}),
	}
}

func (r *run) tenantsCancelCmd() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "cancel <tenant>", Short: "End a tenant's contract: as suspended, for good (operators)", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeTenants,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Tenants().CancelTenant(ctx, &gestorv1.CancelTenantRequest{RequestId: requestID(), Tenant: args[0], Reason: reason})
			return r.changedTenant(res.GetTenant(), err, "is cancelled; its apps go on until it is deleted: gestor tenants delete "+args[0])
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why; the tenant's people read it")
	return c
}

func (r *run) tenantsDeleteCmd() *cobra.Command {
	var reason string
	var yes bool
	c := &cobra.Command{
		Use: "delete <tenant>", Short: "Put a tenant into the trash, for seven days (operators)", Args: cobra.ExactArgs(1),
		Long: `Put a tenant into the trash. Nobody of it signs in from then on; its apps go on. After seven days they are stopped and removed from
their nodes, and everything of the tenant goes but its audit log. Until then gestor tenants restore brings all back.`,
		ValidArgsFunction: r.completeTenants,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			if err := r.confirmName(args[0], "Nobody of it signs in from now on. In seven days its apps, their data and everything else of it are removed.", yes); err != nil {
				return err
			}
			res, err := conn.Tenants().DeleteTenant(ctx, &gestorv1.DeleteTenantRequest{RequestId: requestID(), Tenant: args[0], Reason: reason})
			return r.changedTenant(res.GetTenant(), err, "is in the trash and goes "+r.out.Ago(res.GetTenant().GetPurgeAt())+"; undo with: gestor tenants restore "+res.GetTenant().GetId())
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (r *run) tenantsRestoreCmd() *cobra.Command {
	return &cobra.Command{
		Use: "restore <tenant>", Short: "Take a tenant out of the trash, as it was before (operators)", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeTenants,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Tenants().RestoreTenant(ctx, &gestorv1.RestoreTenantRequest{RequestId: requestID(), Tenant: args[0]})
			return r.changedTenant(res.GetTenant(), err, "is back, "+string(r.tenantStatus(res.GetTenant())))
		}),
	}
}
