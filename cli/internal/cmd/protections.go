package cmd

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) protectionsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "protections", Short: "What deployments to each environment need", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			res, err := conn.Protections().ListProtections(ctx, &gestorv1.ListProtectionsRequest{})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			t := output.NewTable("ENVIRONMENT", "APPROVALS", "ROLLBACKS", "FREEZES", "CHANGED", "BY")
			for _, p := range res.GetProtections() {
				t.Row(environmentOf(p), neededText(p), rollbackText(p), freezesText(p), r.out.Ago(p.GetUpdatedAt()), p.GetUpdatedBy())
			}
			r.out.Table(t, "")
			return nil
		}),
	}
}

func environmentOf(p *gestorv1.Protection) string {
	return output.Enum(p.GetEnvironment(), "ENVIRONMENT_")
}

func neededText(p *gestorv1.Protection) string {
	if !p.GetRequireApproval() {
		return "none"
	}
	return number(int(max(p.GetApprovals(), 1)))
}

func rollbackText(p *gestorv1.Protection) string {
	switch {
	case !p.GetRequireApproval() && len(p.GetFreezes()) == 0:
		return ""
	case p.GetRollbackNeedsApproval():
		return "wait too"
	}
	return "at once"
}

func freezesText(p *gestorv1.Protection) string {
	var all []string
	for _, f := range p.GetFreezes() {
		all = append(all, freezeText(f))
	}
	return strings.Join(all, "; ")
}

type protectOptions struct {
	approvals      int
	off            bool
	rollbacks      bool
	freezes, thaw  []string
	reason, zone   string
	approvalsGiven bool
	rollbacksGiven bool
}

func (o protectOptions) changes() bool {
	return o.approvalsGiven || o.rollbacksGiven || o.off || len(o.freezes) > 0 || len(o.thaw) > 0
}

func (r *run) protectCmd() *cobra.Command {
	var o protectOptions
	c := &cobra.Command{
		Use: "protect <environment>", Short: "Let deployments to an environment wait for other people, or for the end of a freeze",
		Args: cobra.ExactArgs(1),
		Long: `Say what deployments to development, staging or production need before anything is switched.

They are built and prepared as ever, and then wait: for the approval of people other than the one who asked, and for the end
of freezes. Going back to a release that was live is at once, unless --rollbacks says that it waits too.

A freeze is once, "NAME: FROM to TO", or every week, "NAME: DAYS START-END", by the wall clock of its time zone. Without an
option the protection is shown.`,
		Example: `  gestor protect production --approvals 1
  gestor protect production --freeze "Black Friday: 2026-11-27 to 2026-11-30 08:00 America/Sao_Paulo" --reason "no risk in sales"
  gestor protect production --freeze "Weekend: fri-sun 18:00-24:00"
  gestor protect production --thaw "Black Friday"
  gestor protect staging --off`,
		ValidArgs: []string{"development", "staging", "production"},
	}
	f := c.Flags()
	f.IntVar(&o.approvals, "approvals", 1, "how many other people must approve, 1 to 3; 0 for none")
	f.BoolVar(&o.rollbacks, "rollbacks", false, "let rollbacks wait too")
	f.StringArrayVar(&o.freezes, "freeze", nil, "add a freeze, or replace the one of that name")
	f.StringArrayVar(&o.thaw, "thaw", nil, "remove the freeze of that name")
	f.StringVar(&o.reason, "reason", "", "why there is a freeze, for those who wait")
	f.StringVar(&o.zone, "time-zone", "", "of freezes that name none; this host's if not given")
	f.BoolVar(&o.off, "off", false, "remove all protection")
	c.MarkFlagsMutuallyExclusive("off", "approvals")
	c.MarkFlagsMutuallyExclusive("off", "freeze")
	_ = c.RegisterFlagCompletionFunc("thaw", r.completeFreezes)
	c.RunE = func(c *cobra.Command, args []string) error {
		o.approvalsGiven, o.rollbacksGiven = f.Changed("approvals"), f.Changed("rollbacks")
		return r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			return r.protect(ctx, conn, args[0], o)
		})(c, args)
	}
	return c
}

func (r *run) protect(ctx context.Context, conn *client.Client, environment string, o protectOptions) error {
	e := gestorv1.Environment(gestorv1.Environment_value["ENVIRONMENT_"+strings.ToUpper(environment)])
	if e == gestorv1.Environment_ENVIRONMENT_UNSPECIFIED {
		return fault.Invalid("environment", "there is no environment %q", environment).WithFix("use development, staging or production")
	}
	now, err := conn.Protections().GetProtection(ctx, &gestorv1.GetProtectionRequest{Environment: e})
	if err != nil {
		return err
	}
	p := now.GetProtection()
	if !o.changes() {
		return r.showProtection(p)
	}
	if err := r.change(p, o); err != nil {
		return err
	}
	res, err := conn.Protections().UpdateProtection(ctx, &gestorv1.UpdateProtectionRequest{
		Protection: p, ExpectedRevision: p.GetRevision(), RequestId: requestID(),
	})
	if err != nil {
		return err
	}
	return r.showProtection(res.GetProtection())
}

// change does to p what the options say.
func (r *run) change(p *gestorv1.Protection, o protectOptions) error {
	if o.off {
		p.RequireApproval, p.RollbackNeedsApproval, p.Freezes = false, false, nil
	}
	if o.approvalsGiven {
		if p.RequireApproval = o.approvals != 0; p.GetRequireApproval() {
			p.Approvals = int32(min(max(o.approvals, -1), 100)) // the server says what is allowed
		}
	}
	if o.rollbacksGiven {
		p.RollbackNeedsApproval = o.rollbacks
	}
	for _, name := range o.thaw {
		i := slices.IndexFunc(p.GetFreezes(), func(f *gestorv1.Freeze) bool { return f.GetName() == name })
		if i < 0 {
			return fault.NotFound("%s has no freeze %q", environmentOf(p), name).WithFix("see: gestor protect %s", environmentOf(p))
		}
		p.Freezes = slices.Delete(p.GetFreezes(), i, i+1)
	}
	zone := o.zone
	if zone == "" {
		zone = r.localZone()
	}
	for _, text := range o.freezes {
		f, err := parseFreeze(text, zone, o.reason)
		if err != nil {
			return err
		}
		p.Freezes = append(slices.DeleteFunc(p.GetFreezes(), func(old *gestorv1.Freeze) bool { return old.GetName() == f.GetName() }), f)
	}
	return nil
}

func (r *run) showProtection(p *gestorv1.Protection) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetProtectionResponse{Protection: p})
	}
	if !p.GetRequireApproval() && len(p.GetFreezes()) == 0 {
		r.out.Linef("%s is not protected: deployments go live as soon as they are prepared", environmentOf(p))
		return nil
	}
	r.out.Fields(
		[2]any{"environment", environmentOf(p)}, [2]any{"approvals", neededText(p)}, [2]any{"rollbacks", rollbackText(p)},
		[2]any{"changed", strings.TrimSpace(r.out.Ago(p.GetUpdatedAt()) + " by " + p.GetUpdatedBy())},
	)
	if len(p.GetFreezes()) == 0 {
		return nil
	}
	t := output.NewTable("FREEZE", "REASON")
	for _, f := range p.GetFreezes() {
		t.Row(freezeText(f), f.GetReason())
	}
	r.out.Table(t, "")
	return nil
}

// completeFreezes completes the names of an environment's freezes.
func (r *run) completeFreezes(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		res, err := conn.Protections().ListProtections(ctx, &gestorv1.ListProtectionsRequest{})
		var names []string
		for _, p := range res.GetProtections() {
			if len(args) > 0 && environmentOf(p) != args[0] {
				continue
			}
			for _, f := range p.GetFreezes() {
				names = append(names, output.Clean(f.GetName()))
			}
		}
		return names, err
	})
}
