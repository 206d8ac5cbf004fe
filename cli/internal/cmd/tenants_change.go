package cmd

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// limitFlags are what a person says of a tenant's plan and quotas.
type limitFlags struct{ plan, apps, databases, storage string }

const planHelp = `Plans: free (3 apps, 1 database, 1 GiB), basic (10, 5, 20 GiB), pro (50, 25, 200 GiB), enterprise (no limits). A quota goes before
what the plan gives: a number, "none" for no limit, or "plan" for what the plan gives.`

func (f *limitFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.plan, "plan", "", "free, basic, pro or enterprise")
	c.Flags().StringVar(&f.apps, "apps", "", `how many apps, "none" or "plan"`)
	c.Flags().StringVar(&f.databases, "databases", "", `how many databases, "none" or "plan"`)
	c.Flags().StringVar(&f.storage, "storage", "", `how many bytes of files (10G, say), "none" or "plan"`)
	_ = c.RegisterFlagCompletionFunc("plan", cobra.FixedCompletions([]string{"free", "basic", "pro", "enterprise"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *limitFlags) planOf(c *cobra.Command) (gestorv1.TenantPlan, error) {
	if f.plan == "" {
		return gestorv1.TenantPlan_TENANT_PLAN_UNSPECIFIED, nil
	}
	plan, ok := gestorv1.TenantPlan_value["TENANT_PLAN_"+strings.ToUpper(f.plan)]
	if !ok || plan == 0 {
		return 0, usage(c, "there is no plan %q; use free, basic, pro or enterprise", f.plan)
	}
	return gestorv1.TenantPlan(plan), nil
}

// quotas are those before with what the flags say; nil if they say nothing.
func (f *limitFlags) quotas(c *cobra.Command, before *gestorv1.TenantQuotas) (*gestorv1.TenantQuotas, error) {
	if f.apps == "" && f.databases == "" && f.storage == "" {
		return nil, nil //nolint:nilnil // nothing was said
	}
	q := &gestorv1.TenantQuotas{Apps: before.GetApps(), Databases: before.GetDatabases(), StorageBytes: before.GetStorageBytes()}
	for _, set := range []struct {
		flag, text string
		into       *int64
	}{{"--apps", f.apps, &q.Apps}, {"--databases", f.databases, &q.Databases}, {"--storage", f.storage, &q.StorageBytes}} {
		if err := quota(c, set.flag, set.text, set.into); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func quota(c *cobra.Command, flag, text string, into *int64) error {
	switch text {
	case "":
		return nil
	case "plan":
		*into = 0
		return nil
	case "none":
		*into = -1
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 62)
	if flag == "--storage" {
		n, err = parseBytes(flag, text)
	}
	if err != nil || n == 0 || n > 1<<62 {
		return usage(c, `%s must be a number above 0, "none" or "plan", not %q`, flag, text)
	}
	*into = int64(n)
	return nil
}

func (r *run) tenantsCreateCmd() *cobra.Command {
	var limits limitFlags
	c := &cobra.Command{
		Use: "create <name>", Short: "Make a tenant (operators)", Args: cobra.ExactArgs(1), Long: "Make a tenant.\n\n" + planHelp,
		Example: `  gestor tenants create "Acme Ltd" --plan basic
  gestor tenants create lab --plan free --apps 20`,
	}
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		plan, err := limits.planOf(c)
		if err != nil {
			return err
		}
		quotas, err := limits.quotas(c, nil)
		if err != nil {
			return err
		}
		res, err := conn.Tenants().CreateTenant(ctx, &gestorv1.CreateTenantRequest{RequestId: requestID(), Name: args[0], Plan: plan, Quotas: quotas})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		t := res.GetTenant()
		r.out.Linef("made tenant %s, %s, plan %s", t.GetName(), t.GetId(), output.Enum(t.GetPlan(), "TENANT_PLAN_"))
		r.out.Notef("invite its first administrator: gestor users invite <e-mail> --tenant %s", t.GetId())
		return nil
	})
	limits.add(c)
	return c
}

func (r *run) tenantsRenameCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rename [tenant] <name>", Short: "Rename the own tenant, or another (operators)", Args: cobra.RangeArgs(1, 2),
		Example: `  gestor tenants rename "Acme Ltd"
  gestor tenants rename ten_4k2m "Acme Ltd"`,
		ValidArgsFunction: r.completeTenants,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			name := &args[len(args)-1]
			if len(args) == 1 {
				res, err := conn.Tenants().UpdateOwnTenant(ctx, &gestorv1.UpdateOwnTenantRequest{RequestId: requestID(), Name: name})
				return r.changedTenant(res.GetTenant(), err, "is the tenant's name now")
			}
			res, err := conn.Tenants().UpdateTenant(ctx, &gestorv1.UpdateTenantRequest{RequestId: requestID(), Tenant: args[0], Name: name})
			return r.changedTenant(res.GetTenant(), err, "is the tenant's name now")
		}),
	}
}

func (r *run) tenantsSetCmd() *cobra.Command {
	var limits limitFlags
	var factor string
	c := &cobra.Command{
		Use: "set [tenant]", Short: "Set a tenant's plan and quotas (operators), or what the own one demands", Args: cobra.MaximumNArgs(1),
		Long: "Set a tenant's plan and quotas, which operators do, or whether everybody in the own tenant needs a second factor.\n\n" + planHelp,
		Example: `  gestor tenants set acme --plan pro
  gestor tenants set acme --apps 70 --storage none
  gestor tenants set --second-factor required`,
		ValidArgsFunction: r.completeTenants,
	}
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		if factor != "" {
			return r.demandFactor(ctx, conn, c, factor, limits, args)
		}
		return r.setLimits(ctx, conn, c, limits, optional(args))
	})
	limits.add(c)
	c.Flags().StringVar(&factor, "second-factor", "", "required or optional, for everybody in the own tenant")
	_ = c.RegisterFlagCompletionFunc("second-factor", cobra.FixedCompletions([]string{"required", "optional"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (r *run) demandFactor(ctx context.Context, conn *client.Client, c *cobra.Command, factor string, limits limitFlags, args []string) error {
	required := factor == "required"
	switch {
	case !required && factor != "optional":
		return usage(c, "--second-factor must be required or optional, not %q", factor)
	case len(args) > 0 || limits != (limitFlags{}):
		return usage(c, "--second-factor is for the own tenant alone, and stands alone")
	}
	res, err := conn.Tenants().UpdateOwnTenant(ctx, &gestorv1.UpdateOwnTenantRequest{RequestId: requestID(), SecondFactor: &required})
	return r.changedTenant(res.GetTenant(), err, map[bool]string{true: "lets nobody work without a second factor now", false: "leaves a second factor to its users now"}[required])
}

func (r *run) setLimits(ctx context.Context, conn *client.Client, c *cobra.Command, limits limitFlags, ref string) error {
	if limits == (limitFlags{}) {
		return usage(c, "nothing was set; add --plan, --apps, --databases, --storage or --second-factor")
	}
	plan, err := limits.planOf(c)
	if err != nil {
		return err
	}
	before, err := tenantOf(ctx, conn, ref)
	if err != nil {
		return err
	}
	quotas, err := limits.quotas(c, before.GetQuotas())
	if err != nil {
		return err
	}
	res, err := conn.Tenants().UpdateTenant(ctx, &gestorv1.UpdateTenantRequest{RequestId: requestID(), Tenant: before.GetId(), Plan: plan, Quotas: quotas})
	l := res.GetTenant().GetLimits()
	return r.changedTenant(res.GetTenant(), err, "may have "+most(l.GetApps(), "apps")+", "+most(l.GetDatabases(), "databases")+" and "+mostBytes(l.GetStorageBytes()))
}

func most(n int64, noun string) string {
	if n < 0 {
		return "any number of " + noun
	}
	return strconv.FormatInt(n, 10) + " " + noun
}

func mostBytes(n int64) string {
	if n < 0 {
		return "any amount of files"
	}
	return sizeOf(n) + " of files"
}

func (r *run) changedTenant(t *gestorv1.Tenant, err error, what string) error {
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetTenantResponse{Tenant: t})
	}
	r.out.Linef("%s %s", t.GetName(), what)
	return nil
}
