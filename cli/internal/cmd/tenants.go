package cmd

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) tenantsCmd() *cobra.Command {
	c := noun("tenants", "The customers of the installation, and the own tenant", []string{"tenant"},
		r.tenantsListCmd(), r.tenantsShowCmd(), r.tenantsCreateCmd(), r.tenantsRenameCmd(), r.tenantsSetCmd(), r.tenantsSuspendCmd(),
		r.tenantsResumeCmd(), r.tenantsCancelCmd(), r.tenantsDeleteCmd(), r.tenantsRestoreCmd())
	c.Long = `The customers of the installation, and the own tenant.

Everybody sees the own tenant, with what it may have and what it uses: gestor tenants show. Its administrators rename it, and
say whether everybody needs a second factor. All else is for operators of the installation.`
	return c
}

func (r *run) tenantsListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all tenants, and what they use (operators)", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			all, err := allTenants(ctx, conn)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListTenantsResponse{Tenants: all})
			}
			t := output.NewTable("NAME", "ID", "PLAN", "STATUS", "APPS", "DATABASES", "STORAGE", "CREATED")
			for _, n := range all {
				used, limits := n.GetUsed(), n.GetLimits()
				t.Row(n.GetName(), n.GetId(), output.Enum(n.GetPlan(), "TENANT_PLAN_"), r.tenantStatus(n), amount(used.GetApps(), limits.GetApps()),
					amount(used.GetDatabases(), limits.GetDatabases()), stored(used.GetStorageBytes(), limits.GetStorageBytes()), r.out.Ago(n.GetCreatedAt()))
			}
			r.out.Table(t, "no tenant")
			return nil
		}),
	}
}

func allTenants(ctx context.Context, conn *client.Client) ([]*gestorv1.Tenant, error) {
	service := conn.Tenants()
	return collect(0, func(p *gestorv1.PageRequest) ([]*gestorv1.Tenant, *gestorv1.PageResponse, error) {
		res, err := service.ListTenants(ctx, &gestorv1.ListTenantsRequest{Page: p})
		return res.GetTenants(), res.GetPage(), err
	})
}

func (r *run) tenantStatus(t *gestorv1.Tenant) output.Styled {
	status := r.out.State(output.Enum(t.GetStatus(), "TENANT_STATUS_"))
	if t.GetPurgeAt() != nil {
		status += output.Styled(", gone " + r.out.Ago(t.GetPurgeAt()))
	}
	return status
}

// amount is what is used of what is allowed: "2 of 3"; without a limit "2".
func amount(used, limit int64) string {
	if limit < 0 {
		return strconv.FormatInt(used, 10)
	}
	return fmt.Sprintf("%d of %d", used, limit)
}

func stored(used, limit int64) string {
	if limit < 0 {
		return sizeOf(used)
	}
	return sizeOf(used) + " of " + sizeOf(limit)
}

func (r *run) tenantsShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [tenant]", Short: "Show the own tenant with its limits and what it uses, or another (operators)", Args: cobra.MaximumNArgs(1),
		Example: `  gestor tenants show
  gestor tenants show acme`,
		ValidArgsFunction: r.completeTenants,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			t, err := tenantOf(ctx, conn, optional(args))
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.GetTenantResponse{Tenant: t})
			}
			r.showTenant(t)
			return nil
		}),
	}
}

// tenantOf is the tenant of that name, or the own one for none.
func tenantOf(ctx context.Context, conn *client.Client, ref string) (*gestorv1.Tenant, error) {
	if ref == "" {
		res, err := conn.Tenants().GetOwnTenant(ctx, &gestorv1.GetOwnTenantRequest{})
		return res.GetTenant(), err
	}
	res, err := conn.Tenants().GetTenant(ctx, &gestorv1.GetTenantRequest{Tenant: ref})
	return res.GetTenant(), err
}

func (r *run) showTenant(t *gestorv1.Tenant) {
	used, limits := t.GetUsed(), t.GetLimits()
	factor := "optional"
	if t.GetSecondFactor() {
		factor = "needed by everybody"
	}
	r.out.Fields(
		[2]any{"name", t.GetName()}, [2]any{"id", t.GetId()}, [2]any{"status", r.tenantStatus(t)}, [2]any{"reason", t.GetReason()},
		[2]any{"plan", output.Enum(t.GetPlan(), "TENANT_PLAN_")}, [2]any{"created", r.out.Ago(t.GetCreatedAt())},
		[2]any{"apps", amount(used.GetApps(), limits.GetApps()) + unbounded(limits.GetApps())},
		[2]any{"databases", amount(used.GetDatabases(), limits.GetDatabases()) + unbounded(limits.GetDatabases())},
		[2]any{"storage", stored(used.GetStorageBytes(), limits.GetStorageBytes()) + unbounded(limits.GetStorageBytes())},
		[2]any{"second-factor", factor},
	)
}

func unbounded(limit int64) string {
	if limit < 0 {
		return ", no limit"
	}
	return ""
}

func (r *run) completeTenants(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		all, err := allTenants(ctx, conn)
		var names []string
		for _, t := range all {
			names = append(names, output.Clean(t.GetId())+"\t"+output.Clean(t.GetName()))
		}
		return names, err
	})
}
