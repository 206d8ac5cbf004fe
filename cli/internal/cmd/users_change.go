package cmd

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// scopeFlags are the apps that somebody is kept to.
type scopeFlags struct{ apps, environments []string }

func (f *scopeFlags) add(r *run, c *cobra.Command) {
	c.Flags().StringArrayVar(&f.apps, "app", nil, "an app the role is for; may be repeated (default: all)")
	c.Flags().StringArrayVar(&f.environments, "environment", nil, "an environment the role is for: development, staging, production; may be repeated")
	_ = c.RegisterFlagCompletionFunc("app", r.completeAppFlag)
	_ = c.RegisterFlagCompletionFunc("environment", cobra.FixedCompletions([]string{"development", "staging", "production"}, cobra.ShellCompDirectiveNoFileComp))
}

// narrowing is never nil: an empty one is for all apps.
func (f *scopeFlags) narrowing() (*gestorv1.Narrowing, error) {
	n := &gestorv1.Narrowing{Apps: f.apps}
	for _, name := range f.environments {
		e, ok := gestorv1.Environment_value["ENVIRONMENT_"+strings.ToUpper(name)]
		if !ok || e == 0 {
			return nil, fault.Invalid("--environment", "there is no environment %q", name).WithFix("use development, staging or production")
		}
		n.Environments = append(n.Environments, gestorv1.Environment(e))
	}
	return n, nil
}

func roleNamed(name string) (gestorv1.Role, error) {
	role, ok := gestorv1.Role_value["ROLE_"+strings.ToUpper(name)]
	if !ok || role == 0 {
		return 0, fault.Invalid("role", "there is no role %q", name).WithFix("use admin, devops, developer or viewer")
	}
	return gestorv1.Role(role), nil
}

var roleNames = []string{"admin", "devops", "developer", "viewer"}

// updateUser changes a person and says what they are now.
func (r *run) updateUser(ctx context.Context, conn *client.Client, req *gestorv1.UpdateUserRequest, format string) error {
	req.RequestId = requestID()
	res, err := conn.Users().UpdateUser(ctx, req)
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(res)
	}
	u := res.GetUser()
	r.out.Linef("%s %s: %s, for %s", u.GetEmail(), format, userRole(u.GetRole(), u.GetOperator()), narrowed(u.GetNarrow()))
	return nil
}

func (r *run) usersRoleCmd() *cobra.Command {
	var makeOperator, noOperator bool
	c := &cobra.Command{
		Use: "role <user> [admin|devops|developer|viewer]", Short: "Change what a person is", Args: cobra.RangeArgs(1, 2),
		Long: `Change what a person is in the tenant, and with --operator whether they manage the installation besides.

Nobody gives more than they have, and a tenant keeps one administrator, the installation one operator.`,
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return roleNames, cobra.ShellCompDirectiveNoFileComp
			}
			return r.completeUsers(c, args, word)
		},
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			req := &gestorv1.UpdateUserRequest{User: args[0]}
			if len(args) > 1 {
				role, err := roleNamed(args[1])
				if err != nil {
					return err
				}
				req.Role = &role
			}
			if makeOperator || noOperator {
				req.Operator = &makeOperator
			}
			if req.Role == nil && req.Operator == nil {
				return fault.Invalid("role", "it is missing").WithFix("write one of %s, or --operator", strings.Join(roleNames, ", "))
			}
			return r.updateUser(ctx, conn, req, "is now")
		}),
	}
	c.Flags().BoolVar(&makeOperator, "operator", false, "let them manage the installation besides; for operators")
	c.Flags().BoolVar(&noOperator, "no-operator", false, "do not let them any more")
	c.MarkFlagsMutuallyExclusive("operator", "no-operator")
	return c
}

func (r *run) usersNarrowCmd() *cobra.Command {
	var scope scopeFlags
	var all bool
	c := &cobra.Command{
		Use: "narrow <user>", Short: "Keep a person to some apps and environments", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeUsers,
		Long:    "Keep a person to the apps and environments that are named. Other apps, their builds, tasks and logs do not exist for them.",
		Example: "  gestor users narrow bia@example.com --app shop --environment staging\n  gestor users narrow bia@example.com --all",
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			narrow, err := scope.narrowing()
			if err != nil {
				return err
			}
			if !all && len(narrow.GetApps())+len(narrow.GetEnvironments()) == 0 {
				return fault.Invalid("", "nothing is named").WithFix("add --app or --environment, or --all to lift what there is")
			}
			return r.updateUser(ctx, conn, &gestorv1.UpdateUserRequest{User: args[0], Narrow: narrow}, "is now")
		}),
	}
	scope.add(r, c)
	c.Flags().BoolVar(&all, "all", false, "all apps of the tenant")
	c.MarkFlagsMutuallyExclusive("all", "app")
	c.MarkFlagsMutuallyExclusive("all", "environment")
	return c
}

func (r *run) statusCmd(use, short, long string, status gestorv1.UserStatus, said string) *cobra.Command {
	return &cobra.Command{
		Use: use + " <user>", Short: short, Long: long, Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeUsers,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			return r.updateUser(ctx, conn, &gestorv1.UpdateUserRequest{User: args[0], Status: &status}, said)
		}),
	}
}

func (r *run) usersBlockCmd() *cobra.Command {
	return r.statusCmd("block", "Keep a person out, at once",
		"Keep a person out: they are signed out everywhere, their tokens end, and invitations they made are worth nothing.",
		gestorv1.UserStatus_USER_STATUS_BLOCKED, "is kept out")
}

func (r *run) usersDeactivateCmd() *cobra.Command {
	return r.statusCmd("deactivate", "Keep a person out who does not work here any more", "",
		gestorv1.UserStatus_USER_STATUS_INACTIVE, "is inactive")
}

func (r *run) usersUnblockCmd() *cobra.Command {
	return r.statusCmd("unblock", "Let a person in again", "", gestorv1.UserStatus_USER_STATUS_ACTIVE, "may sign in")
}

func (r *run) usersRemoveCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "remove <user>", Aliases: []string{"rm", "delete"}, Short: "Remove a person for good", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeUsers,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Users().GetUser(ctx, &gestorv1.GetUserRequest{User: args[0]})
			if err != nil {
				return err
			}
			email := res.GetUser().GetEmail()
			if err := r.confirmName(email, "Removing "+email+" signs them out and ends their tokens. What they did stays in the audit log.", yes); err != nil {
				return err
			}
			if _, err := conn.Users().DeleteUser(ctx, &gestorv1.DeleteUserRequest{RequestId: requestID(), User: res.GetUser().GetId()}); err != nil {
				return err
			}
			return r.done("removed", email, "%s is removed", email)
		}),
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (r *run) usersResetPasswordCmd() *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use: "reset-password <user>", Short: "Make a link with which a person chooses a new password", Args: cobra.ExactArgs(1),
		Long: `Make a link with which a person chooses a new password, once. It is sent by e-mail if this installation sends any, and
shown otherwise. The present password works until the link is used; then all their sessions end.`,
		ValidArgsFunction: r.completeUsers,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Users().ResetPassword(ctx, &gestorv1.ResetPasswordRequest{RequestId: requestID(), User: args[0], ShowLink: show})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.showLink("link for a new password", args[0], res.GetLink(), res.GetNotice())
			return nil
		}),
	}
	c.Flags().BoolVar(&show, "show-link", false, "show the link instead of sending it")
	return c
}

// showLink says how a link reaches somebody.
func (r *run) showLink(what, who, link, notice string) {
	if notice != "" {
		r.out.Warnf("%s", notice)
	}
	if link == "" {
		r.out.Linef("the %s was sent to %s", what, output.Clean(who))
		return
	}
	r.out.Notef("the %s, for %s alone; it is shown this once:", what, output.Clean(who))
	r.out.Linef("%s", link)
}
