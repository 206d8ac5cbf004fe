package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) accountSessionsCmd() *cobra.Command {
	revoke := &cobra.Command{
		Use: "revoke <id>", Short: "End one of your sessions", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeSessions,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			req := &gestorv1.RevokeSessionRequest{SessionId: args[0], RequestId: requestID()}
			if _, err := conn.Sessions().RevokeSession(ctx, req); err != nil {
				return err
			}
			return r.done("revoked", args[0], "the session %s has ended", args[0])
		}),
	}
	others := &cobra.Command{
		Use: "revoke-others", Short: "End all of your sessions but this one", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			if _, err := conn.Sessions().RevokeOtherSessions(ctx, &gestorv1.RevokeOtherSessionsRequest{RequestId: requestID()}); err != nil {
				return err
			}
			return r.done("revoked", "others", "all your other sessions have ended")
		}),
	}
	c := noun("sessions", "Where you are signed in", []string{"session"}, revoke, others)
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
		res, err := conn.Sessions().ListSessions(ctx, &gestorv1.ListSessionsRequest{})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.showSessions(res.GetSessions())
		return nil
	})
	return c
}

func (r *run) showSessions(sessions []*gestorv1.Session) {
	t := output.NewTable("ID", "SINCE", "USED", "FROM", "PROGRAM", "SECOND FACTOR", "")
	for _, s := range sessions {
		current := ""
		if s.GetCurrent() {
			current = "this one"
		}
		from := s.GetSeenFrom()
		if from == "" {
			from = s.GetAddress()
		}
		t.Row(s.GetId(), r.out.Ago(s.GetCreatedAt()), r.out.Ago(s.GetSeenAt()), from, output.Cut(output.Clean(s.GetUserAgent()), 40),
			yesNo(s.GetSecondFactor()), current)
	}
	r.out.Table(t, "nobody is signed in")
}

func (r *run) completeSessions(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		res, err := conn.Sessions().ListSessions(ctx, &gestorv1.ListSessionsRequest{})
		var ids []string
		for _, s := range res.GetSessions() {
			ids = append(ids, output.Clean(s.GetId())+"\t"+output.Clean(s.GetUserAgent()))
		}
		return ids, err
	})
}

func (r *run) usersSessionsCmd() *cobra.Command {
	var session string
	var all bool
	c := &cobra.Command{
		Use: "sessions <user>", Short: "Show where a person is signed in, or end it", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeUsers,
		Example: `  gestor users sessions ana@example.com
  gestor users sessions ana@example.com --revoke-all`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			if session != "" || all {
				return r.revokeUserSessions(ctx, conn, args[0], session)
			}
			res, err := conn.Sessions().ListUserSessions(ctx, &gestorv1.ListUserSessionsRequest{User: args[0]})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.showSessions(res.GetSessions())
			return nil
		}),
	}
	c.Flags().StringVar(&session, "revoke", "", "end the session with this id")
	c.Flags().BoolVar(&all, "revoke-all", false, "end all of them")
	c.MarkFlagsMutuallyExclusive("revoke", "revoke-all")
	return c
}

func (r *run) revokeUserSessions(ctx context.Context, conn *client.Client, user, session string) error {
	req := &gestorv1.RevokeUserSessionsRequest{User: user, SessionId: session, RequestId: requestID()}
	if _, err := conn.Sessions().RevokeUserSessions(ctx, req); err != nil {
		return err
	}
	if session != "" {
		return r.done("revoked", session, "the session %s of %s has ended", session, user)
	}
	return r.done("revoked", user, "%s is signed out everywhere", user)
}
