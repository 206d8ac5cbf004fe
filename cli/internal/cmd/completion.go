package cmd

import (
	"context"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
)

func (r *run) completionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print a completion script for a shell",
		Long: `Print a completion script. It completes commands, flags, and the names of apps, nodes and releases.

  bash   gestor completion bash > /etc/bash_completion.d/gestor
  zsh    gestor completion zsh > "${fpath[1]}/_gestor"
  fish   gestor completion fish > ~/.config/fish/completions/gestor.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(c *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(r.env.Stdout, true)
			case "zsh":
				return c.Root().GenZshCompletion(r.env.Stdout)
			default:
				return c.Root().GenFishCompletion(r.env.Stdout, true)
			}
		},
	}
}

// completionTimeout bounds what a press of Tab may cost.
const completionTimeout = 2 * time.Second

// complete asks the server for names. Trouble completes nothing and says nothing: the command itself will.
func (r *run) complete(c *cobra.Command, names func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	parent := c.Context()
	if parent == nil {
		parent = context.Background() // completion of a flag runs outside of a command's context
	}
	ctx, cancel := context.WithTimeout(parent, completionTimeout)
	defer cancel()
	conn, err := r.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, err := names(ctx, conn)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func (r *run) completeApps(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		apps, err := allApps(ctx, conn)
		var names []string
		for _, a := range apps {
			names = append(names, output.Clean(a.GetSlug()))
		}
		return names, err
	})
}

func (r *run) completeNodes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		nodes, err := allNodes(ctx, conn)
		var names []string
		for _, n := range nodes {
			names = append(names, output.Clean(n.GetName()))
		}
		return names, err
	})
}

func (r *run) completeTokens(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		own, err := tokens(ctx, conn, false)
		var names []string
		for _, t := range own {
			names = append(names, output.Clean(t.GetName()))
		}
		return names, err
	})
}

// completeAppFlag completes the value of a flag that takes an app.
func (r *run) completeAppFlag(c *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	return r.completeApps(c, nil, word)
}

// completeReleases completes an app first and then its releases.
func (r *run) completeReleases(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return r.completeApps(c, args, word)
	}
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		releases, err := releasesOf(ctx, conn, args[0], pageSize)
		var names []string
		for _, rel := range releases {
			names = append(names, output.Clean(rel.GetName())+"\t"+output.Clean(output.Short(rel.GetCommit())+" "+rel.GetMessage()))
		}
		return names, err
	})
}

func (r *run) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := r.contexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return all.Names(), cobra.ShellCompDirectiveNoFileComp
}

func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
