package cmd

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type inviteOptions struct {
	scope    scopeFlags
	role     string
	operator bool
	tenant   string
	lifetime string
	show     bool
}

func (r *run) usersInviteCmd() *cobra.Command {
	var o inviteOptions
	c := &cobra.Command{
		Use: "invite <e-mail>", Short: "Invite a person", Args: cobra.ExactArgs(1),
		Long: `Invite a person. The link is for that address, works once and ends. It is sent by e-mail if this installation sends any,
and shown to you otherwise: give it to them in a way that nobody else reads.

With --tenant operators invite the first administrator of a tenant.`,
		Example: `  gestor users invite bia@example.com --role developer --app shop
  gestor users invite boss@acme.example --tenant ten_…`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			invitation, link, err := o.invite(ctx, conn, args[0])
			if err != nil {
				return err
			}
			return r.showInvitation(invitation, link)
		}),
	}
	o.scope.add(r, c)
	c.Flags().StringVar(&o.role, "role", "developer", "what they will be: admin, devops, developer, viewer")
	c.Flags().BoolVar(&o.operator, "operator", false, "let them manage the installation besides; for operators")
	c.Flags().StringVar(&o.tenant, "tenant", "", "the id of a tenant without administrators; for operators")
	c.Flags().StringVar(&o.lifetime, "lifetime", "7d", "how long it can be accepted, at most 30d")
	c.Flags().BoolVar(&o.show, "show-link", false, "show the link instead of sending it")
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roleNames, cobra.ShellCompDirectiveNoFileComp))
	for _, flag := range []string{"role", "operator", "app", "environment"} {
		c.MarkFlagsMutuallyExclusive("tenant", flag)
	}
	return c
}

func (o *inviteOptions) invite(ctx context.Context, conn *client.Client, email string) (*gestorv1.Invitation, *gestorv1.InvitationLink, error) {
	lifetime, err := parseDays("--lifetime", o.lifetime)
	if err != nil {
		return nil, nil, err
	}
	ttl := durationpb.New(lifetime)
	if o.tenant != "" {
		res, err := conn.Invitations().InviteAdministrator(ctx, &gestorv1.InviteAdministratorRequest{
			RequestId: requestID(), TenantId: o.tenant, Email: email, Ttl: ttl, ShowLink: o.show,
		})
		return res.GetInvitation(), res.GetLink(), err
	}
	req := &gestorv1.CreateInvitationRequest{RequestId: requestID(), Email: email, Operator: o.operator, Ttl: ttl, ShowLink: o.show}
	if req.Role, err = roleNamed(o.role); err != nil {
		return nil, nil, err
	}
	if req.Narrow, err = o.scope.narrowing(); err != nil {
		return nil, nil, err
	}
	res, err := conn.Invitations().CreateInvitation(ctx, req)
	return res.GetInvitation(), res.GetLink(), err
}

func (r *run) showInvitation(i *gestorv1.Invitation, link *gestorv1.InvitationLink) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.CreateInvitationResponse{Invitation: i, Link: link})
	}
	r.out.Notef("%s is invited as %s, for %s; the invitation ends %s", i.GetEmail(), userRole(i.GetRole(), i.GetOperator()),
		narrowed(i.GetNarrow()), r.out.Ago(i.GetExpiresAt()))
	r.showLink("invitation", i.GetEmail(), link.GetLink(), link.GetNotice())
	return nil
}

func (r *run) usersInvitationsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "invitations", Short: "List the invitations that nobody has accepted yet", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			all, err := allInvitations(ctx, conn)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListInvitationsResponse{Invitations: all})
			}
			t := output.NewTable("EMAIL", "ROLE", "FOR", "INVITED BY", "SENT", "ENDS")
			for _, i := range all {
				t.Row(i.GetEmail(), userRole(i.GetRole(), i.GetOperator()), narrowed(i.GetNarrow()), i.GetInvitedBy(), yesNo(i.GetMailed()), r.out.Ago(i.GetExpiresAt()))
			}
			r.out.Table(t, "nobody is invited; run: gestor users invite <e-mail>")
			return nil
		}),
	}
}

func allInvitations(ctx context.Context, conn *client.Client) ([]*gestorv1.Invitation, error) {
	service := conn.Invitations()
	return collect(0, func(p *gestorv1.PageRequest) ([]*gestorv1.Invitation, *gestorv1.PageResponse, error) {
		res, err := service.ListInvitations(ctx, &gestorv1.ListInvitationsRequest{Page: p})
		return res.GetInvitations(), res.GetPage(), err
	})
}

func (r *run) usersResendCmd() *cobra.Command {
	var lifetime string
	var show bool
	c := &cobra.Command{
		Use: "resend <e-mail>", Short: "Make a new link for an invitation; the one before is worth nothing then", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeInvitations,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			span, err := parseDays("--lifetime", lifetime)
			if err != nil {
				return err
			}
			res, err := conn.Invitations().ResendInvitation(ctx, &gestorv1.ResendInvitationRequest{
				RequestId: requestID(), Invitation: args[0], Ttl: durationpb.New(span), ShowLink: show,
			})
			if err != nil {
				return err
			}
			return r.showInvitation(res.GetInvitation(), res.GetLink())
		}),
	}
	c.Flags().StringVar(&lifetime, "lifetime", "7d", "how long it can be accepted, at most 30d")
	c.Flags().BoolVar(&show, "show-link", false, "show the link instead of sending it")
	return c
}

func (r *run) usersRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke <e-mail>", Short: "Take an invitation back", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeInvitations,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			_, err := conn.Invitations().RevokeInvitation(ctx, &gestorv1.RevokeInvitationRequest{RequestId: requestID(), Invitation: args[0]})
			if err != nil {
				return fault.Wrap(err, "take the invitation back")
			}
			return r.done("revoked", args[0], "the invitation of %s is worth nothing any more", args[0])
		}),
	}
}

func (r *run) completeInvitations(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		all, err := allInvitations(ctx, conn)
		var names []string
		for _, i := range all {
			names = append(names, output.Clean(i.GetEmail()))
		}
		return names, err
	})
}
