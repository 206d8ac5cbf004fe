package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) nodesShareCmd() *cobra.Command {
	var tenant string
	c := &cobra.Command{
		Use: "share <node>", Short: "Let every tenant place apps on a node (operators)", Args: cobra.ExactArgs(1),
		Long: `Let every tenant place apps on a node. Its owner and operators still manage it, and no tenant sees what others do there.
Where a tenant has a node of the same name, that one is meant by the name.`,
		Example: `  gestor nodes share web1
  gestor nodes share web1 --tenant acme     # a node of theirs`,
		ValidArgsFunction: r.completeNodes,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Nodes().ShareNode(ctx, &gestorv1.ShareNodeRequest{Node: args[0], Tenant: tenant})
			return r.changedNode(res.GetNode(), err, "takes apps of every tenant; undo with: gestor nodes dedicate "+args[0])
		}),
	}
	r.tenantFlag(c, &tenant, "tenant", "the tenant whose node it is (default: the own)")
	return c
}

func (r *run) nodesDedicateCmd() *cobra.Command {
	var tenant, to string
	c := &cobra.Command{
		Use: "dedicate <node>", Short: "Keep a node for one tenant (operators)", Args: cobra.ExactArgs(1),
		Long: "Keep a node for one tenant: its owner, or the one that --to names. It is refused while apps of others are on it.",
		Example: `  gestor nodes dedicate web1
  gestor nodes dedicate web1 --to acme      # it is theirs from now on`,
		ValidArgsFunction: r.completeNodes,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Nodes().DedicateNode(ctx, &gestorv1.DedicateNodeRequest{Node: args[0], Tenant: tenant, To: to})
			return r.changedNode(res.GetNode(), err, "takes apps of one tenant only")
		}),
	}
	r.tenantFlag(c, &tenant, "tenant", "the tenant whose node it is (default: the own)")
	r.tenantFlag(c, &to, "to", "the tenant it is for from now on (default: its owner)")
	return c
}

func (r *run) tenantFlag(c *cobra.Command, into *string, name, help string) {
	c.Flags().StringVar(into, name, "", help)
	_ = c.RegisterFlagCompletionFunc(name, func(c *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return r.completeTenants(c, nil, word)
	})
}
