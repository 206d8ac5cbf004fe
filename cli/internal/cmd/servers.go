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

func (r *run) serversCmd() *cobra.Command {
	return noun("servers", "The control servers", []string{"server"},
		r.serversListCmd(), r.serversAddCmd(), r.serversRemoveCmd(), r.serversTransferCmd(), r.serversCheckCmd(), r.serversBackupCmd(), r.serversKeyCmd())
}

func (r *run) serversListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the control servers, and how many may fail", Args: cobra.NoArgs,
		Long: `List the control servers, each with what it says of itself, and how many of them may fail before nothing can be changed.

A voter has a say in what is written. A standby gets every change and has none: it catches up, or waits for a third server.`,
		Example: `  gestor servers list
  gestor servers list --read local    # also without a majority`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			res, err := conn.Servers().ListServers(ctx, &gestorv1.ListServersRequest{})
			if err != nil {
				return err
			}
			r.heard(res.GetServers())
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.showServers(res)
			return nil
		}),
	}
}

func (r *run) showServers(res *gestorv1.ListServersResponse) {
	t := output.NewTable("NAME", "ROLE", "VERSION", "REVISION", "AGENTS", "DISK FREE", "STATE")
	for _, s := range res.GetServers() {
		agents := ""
		if s.GetReachable() {
			agents = strconv.Itoa(int(s.GetAgents()))
		}
		t.Row(s.GetName(), r.serverRole(s), s.GetVersion(), revisionOf(s), agents, output.Bytes(s.GetDiskFreeBytes()), r.serverState(s))
	}
	r.out.Table(t, "the server that answered tells of none")
	if len(res.GetServers()) > 0 {
		r.out.Linef("%s", tolerates(res))
	}
	if res.GetNotice() != "" {
		r.out.Linef("%s %s", r.out.Paint(output.Yellow, "notice:"), res.GetNotice())
	}
}

func (r *run) serverRole(s *gestorv1.Server) output.Styled {
	role := output.Styled(output.Enum(s.GetRole(), "SERVER_ROLE_"))
	if s.GetLeader() {
		role += ", " + r.out.Paint(output.Bold, "leader")
	}
	return role
}

func revisionOf(s *gestorv1.Server) string {
	switch {
	case !s.GetReachable():
		return ""
	case s.GetBehind() > 0:
		return fmt.Sprintf("%d, %d behind", s.GetRevision(), s.GetBehind())
	default:
		return strconv.FormatUint(s.GetRevision(), 10)
	}
}

func (r *run) serverState(s *gestorv1.Server) output.Styled {
	state := r.out.Paint(output.Green, "running")
	if !s.GetReachable() {
		state = r.out.Paint(output.Red, "out of reach")
	} else if s.GetStartedAt() != nil {
		state += output.Styled(", started " + r.out.Ago(s.GetStartedAt()))
	}
	if s.GetNotice() != "" {
		state += ": " + r.out.Paint(output.Yellow, s.GetNotice())
	}
	return state
}

func tolerates(res *gestorv1.ListServersResponse) string {
	switch n := res.GetTolerates(); {
	case n > 1:
		return fmt.Sprintf("any %d voters may fail and all goes on", n)
	case n == 1:
		return "any one voter may fail and all goes on"
	case len(res.GetServers()) < 3 && res.GetNotice() == "":
		return "no server may fail; with three, one may: gestor servers add"
	default:
		return "no other voter may fail now, or nothing can be changed"
	}
}

func (r *run) completeServers(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		res, err := conn.Servers().ListServers(ctx, &gestorv1.ListServersRequest{})
		var names []string
		for _, s := range res.GetServers() {
			names = append(names, output.Clean(s.GetName())+"\t"+output.Clean(output.Enum(s.GetRole(), "SERVER_ROLE_")))
		}
		return names, err
	})
}
