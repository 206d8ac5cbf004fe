package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) usersCmd() *cobra.Command {
	return noun("users", "The people of your tenant", []string{"user"},
		r.usersListCmd(), r.usersShowCmd(), r.usersInviteCmd(), r.usersInvitationsCmd(), r.usersResendCmd(), r.usersRevokeCmd(),
		r.usersRoleCmd(), r.usersNarrowCmd(), r.usersBlockCmd(), r.usersDeactivateCmd(), r.usersUnblockCmd(), r.usersResetPasswordCmd(),
		r.usersSessionsCmd(), r.usersResetFactorsCmd(), r.usersRemoveCmd())
}

func (r *run) usersListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the people", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			users, err := allUsers(ctx, conn)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListUsersResponse{Users: users})
			}
			t := output.NewTable("EMAIL", "NAME", "ROLE", "STATUS", "FOR", "CONFIRMED", "SINCE")
			for _, u := range users {
				t.Row(u.GetEmail(), u.GetName(), userRole(u.GetRole(), u.GetOperator()), r.userStatus(u), narrowed(u.GetNarrow()),
					yesNo(u.GetEmailVerifiedAt() != nil), r.out.Ago(u.GetCreatedAt()))
			}
			r.out.Table(t, "nobody is here")
			return nil
		}),
	}
}

func allUsers(ctx context.Context, conn *client.Client) ([]*gestorv1.User, error) {
	service := conn.Users()
	return collect(0, func(p *gestorv1.PageRequest) ([]*gestorv1.User, *gestorv1.PageResponse, error) {
		res, err := service.ListUsers(ctx, &gestorv1.ListUsersRequest{Page: p})
		return res.GetUsers(), res.GetPage(), err
	})
}

func userRole(role gestorv1.Role, operator bool) string {
	if operator {
		return roleName(role) + ", operator"
	}
	return roleName(role)
}

func (r *run) userStatus(u *gestorv1.User) output.Styled {
	return r.out.State(output.Enum(u.GetStatus(), "USER_STATUS_"))
}

func (r *run) usersShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show <user>", Short: "Show a person", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeUsers,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Users().GetUser(ctx, &gestorv1.GetUserRequest{User: args[0]})
			if err != nil {
				return err
			}
			return r.showUser(res.GetUser())
		}),
	}
}

func (r *run) showUser(u *gestorv1.User, more ...[2]any) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetUserResponse{User: u})
	}
	confirmed := "no"
	if at := u.GetEmailVerifiedAt(); at != nil {
		confirmed = r.out.Ago(at)
	}
	fields := [][2]any{
		{"email", u.GetEmail()},
		{"name", u.GetName()},
		{"role", userRole(u.GetRole(), u.GetOperator())},
		{"status", r.userStatus(u)},
		{"for", narrowed(u.GetNarrow())},
		{"confirmed", confirmed},
		{"password of", r.out.Ago(u.GetPasswordSetAt())},
		{"since", r.out.Ago(u.GetCreatedAt())},
		{"id", u.GetId()},
	}
	r.out.Fields(append(fields, more...)...)
	return nil
}

// completeUsers completes a person's address.
func (r *run) completeUsers(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		users, err := allUsers(ctx, conn)
		var names []string
		for _, u := range users {
			names = append(names, output.Clean(u.GetEmail())+"\t"+output.Clean(u.GetName()))
		}
		return names, err
	})
}
