package cmd

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) permissionsCmd() *cobra.Command {
	var methods, mine bool
	c := &cobra.Command{
		Use: "permissions", Short: "Who may do what", Args: cobra.NoArgs,
		Long: `Show the table of permissions: what each lets do, and which roles hold it. Operators hold theirs besides those of
their role. With --methods every call of the API is shown with the permission it needs; "again" means that it asks for a proof
of identity of the last five minutes.`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			res, err := conn.Permissions().GetPermissions(ctx, &gestorv1.GetPermissionsRequest{})
			if err != nil {
				return err
			}
			if mine {
				res.Permissions = slices.DeleteFunc(res.GetPermissions(), func(p *gestorv1.PermissionEntry) bool { return !p.GetYours() })
			}
			switch {
			case r.out.JSON:
				return r.out.Object(res)
			case methods:
				r.showMethods(res.GetPermissions())
			default:
				r.showPermissions(res.GetPermissions())
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&methods, "methods", false, "show the calls of the API")
	c.Flags().BoolVar(&mine, "mine", false, "only what you may do")
	return c
}

func (r *run) showPermissions(all []*gestorv1.PermissionEntry) {
	t := output.NewTable("PERMISSION", "ADMIN", "DEVOPS", "DEVELOPER", "VIEWER", "OPERATOR", "YOU", "LETS")
	for _, p := range all {
		row := []any{p.GetName()}
		for _, role := range []string{"admin", "devops", "developer", "viewer"} {
			row = append(row, set(slices.Contains(p.GetRoles(), role) || p.GetAnybody()))
		}
		t.Row(append(row, set(p.GetOperator() || p.GetAnybody()), set(p.GetYours()), strings.TrimSuffix(p.GetDescription(), "."))...)
	}
	r.out.Table(t, "you may do nothing")
}

func (r *run) showMethods(all []*gestorv1.PermissionEntry) {
	t := output.NewTable("METHOD", "PERMISSION", "AUDITED AS", "PROOF")
	for _, p := range all {
		for _, m := range p.GetMethods() {
			proof := ""
			if m.GetStepUp() {
				proof = "again"
			}
			t.Row(m.GetName(), p.GetName(), m.GetAudit(), proof)
		}
	}
	r.out.Table(t, "you may do nothing")
}
