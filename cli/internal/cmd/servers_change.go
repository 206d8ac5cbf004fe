package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) serversAddCmd() *cobra.Command {
	var replace string
	var wait bool
	c := &cobra.Command{
		Use: "add [name]", Short: "Print the command that makes a host a control server", Args: cobra.MaximumNArgs(1),
		Long: `Print a command to run as root on a fresh host. It holds a token that works once, for ten minutes.

The new server first gets the whole state as a standby, and a vote once it has caught up. The second of two servers stays a
standby: two voters survive less than one. With the third both get a vote, and from then on any one of them may fail.`,
		Example: `  gestor servers add ctl2
  gestor servers add ctl4 --replace ctl2 --wait`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			return r.addServer(ctx, conn, optional(args), replace, wait)
		}),
	}
	c.Flags().StringVar(&replace, "replace", "", "a server, dead say, that leaves once the new one has caught up")
	c.Flags().BoolVar(&wait, "wait", false, "follow until the new server has its place")
	_ = c.RegisterFlagCompletionFunc("replace", func(c *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return r.completeServers(c, nil, word)
	})
	return c
}

func (r *run) addServer(ctx context.Context, conn *client.Client, name, replace string, wait bool) error {
	before, err := conn.Servers().ListServers(ctx, &gestorv1.ListServersRequest{})
	if err != nil {
		return err
	}
	req := &gestorv1.CreateServerTokenRequest{Name: name, Replaces: replace, RequestId: requestID()}
	res, err := conn.Servers().CreateServerToken(ctx, req)
	if err != nil {
		return err
	}
	if err := r.showToken(res, len(before.GetServers()), name, replace, wait); err != nil || !wait {
		return err
	}
	a := &arrival{r: r, conn: conn, replaces: replace, expires: res.GetExpiresAt(), known: map[string]bool{}}
	for _, s := range before.GetServers() {
		a.known[s.GetId()] = true
	}
	return a.await(ctx)
}

func (r *run) showToken(res *gestorv1.CreateServerTokenResponse, servers int, name, replace string, wait bool) error {
	switch {
	case r.out.JSON && wait:
		return r.out.Event(res)
	case r.out.JSON:
		return r.out.Object(res)
	}
	if name == "" {
		name = "a control server"
	}
	r.out.Notef("run this as root on the host that will be %s; it works once and expires %s:", name, r.out.Ago(res.GetExpiresAt()))
	r.out.Linef("%s", res.GetCommand())
	switch {
	case replace != "":
		r.out.Notef("once it has caught up it takes the place of %s", replace)
	case servers == 1:
		r.out.Notef("it will be a standby; add a third server too, then all have a vote and any one of them may fail")
	default:
		r.out.Notef("it will be a standby until it has caught up, then a voter")
	}
	if !wait {
		r.out.Notef("see how far it is with: gestor servers list")
	}
	return nil
}

func (r *run) serversRemoveCmd() *cobra.Command {
	var force, yes bool
	c := &cobra.Command{
		Use: "remove <server>", Aliases: []string{"rm"}, Short: "Take a server out of the cluster, dead or alive", Args: cobra.ExactArgs(1),
		Long: `Take a server out of the cluster, dead or alive. A leader hands over first. What would leave no majority is refused; --force
insists. A dead server is better replaced: gestor servers add --replace.`,
		Example:           `  gestor servers remove ctl3`,
		ValidArgsFunction: r.completeServers,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			if err := r.confirmName(args[0], "It gets no change any more and cannot come back but as a fresh server; its agents go to the others.", yes); err != nil {
				return err
			}
			req := &gestorv1.RemoveServerRequest{Server: args[0], Force: force, RequestId: requestID()}
			if _, err := conn.Servers().RemoveServer(ctx, req); err != nil {
				return err
			}
			r.news = true
			return r.done("removed", args[0], "%s is out of the cluster; gestor-server can be uninstalled there", args[0])
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "even if a majority of the others does not answer")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (r *run) serversTransferCmd() *cobra.Command {
	return &cobra.Command{
		Use: "transfer-leader [server]", Short: "Make another voter lead, before work on the leader say", Args: cobra.MaximumNArgs(1),
		Long: "Make another voter lead: the one named, or the most up to date. Nothing is lost, and for some milliseconds changes wait.",
		Example: `  gestor servers transfer-leader
  gestor servers transfer-leader ctl2`,
		ValidArgsFunction: r.completeServers,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Servers().TransferLeader(ctx, &gestorv1.TransferLeaderRequest{Server: optional(args)})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("%s leads now, after %s without a leader", res.GetLeader(), output.Elapsed(res.GetTook().AsDuration()))
			return nil
		}),
	}
}
