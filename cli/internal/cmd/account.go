package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) accountCmd() *cobra.Command {
	return noun("account", "Your own account", nil,
		r.accountShowCmd(), r.accountNameCmd(), r.accountPasswordCmd(), r.accountEmailCmd(), r.accountVerifyCmd(), r.accountForgotCmd(),
		r.accountTOTPCmd(), r.accountRecoveryCmd(), r.accountPasskeysCmd(), r.accountSessionsCmd())
}

func (r *run) accountShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show your account", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			res, err := conn.Account().GetAccount(ctx, &gestorv1.GetAccountRequest{})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			return r.showUser(res.GetUser(), [2]any{"e-mail is sent", yesNo(res.GetMailConfigured())})
		}),
	}
}

func (r *run) accountNameCmd() *cobra.Command {
	return &cobra.Command{
		Use: "name <name>", Short: "Change how lists show you; an empty name takes it away", Args: cobra.ExactArgs(1),
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Account().UpdateAccount(ctx, &gestorv1.UpdateAccountRequest{RequestId: requestID(), Name: args[0]})
			if err != nil {
				return err
			}
			return r.done("name", res.GetUser().GetName(), "lists show you as %q", res.GetUser().GetName())
		}),
	}
}

func (r *run) accountPasswordCmd() *cobra.Command {
	return &cobra.Command{
		Use: "password", Short: "Change your password", Args: cobra.NoArgs,
		Long: "Change your password. You are asked for the present one and the new one; all your other sessions end.",
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			req := &gestorv1.ChangePasswordRequest{}
			var err error
			if req.OldPassword, err = r.secret("Present password", "a terminal", false); err != nil {
				return err
			}
			if req.NewPassword, err = r.newPassword(false); err != nil {
				return err
			}
			if _, err := conn.Account().ChangePassword(ctx, req); err != nil {
				return err
			}
			return r.done("changed", "password", "your password is changed; your other sessions have ended")
		}),
	}
}

func (r *run) accountEmailCmd() *cobra.Command {
	return &cobra.Command{
		Use: "email <e-mail>", Short: "Change your address, once you have confirmed it", Args: cobra.ExactArgs(1),
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Account().RequestEmailChange(ctx, &gestorv1.RequestEmailChangeRequest{Email: args[0]})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("if nobody has %s, a link was sent there; it becomes your address when you open it, until then nothing changes", res.GetEmail())
			return nil
		}),
	}
}

func (r *run) accountVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Have a link sent that confirms your address", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			res, err := conn.Account().RequestEmailVerification(ctx, &gestorv1.RequestEmailVerificationRequest{})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("a link was sent to %s; it ends %s", res.GetEmail(), r.out.Ago(res.GetExpiresAt()))
			return nil
		}),
	}
}

func (r *run) accountForgotCmd() *cobra.Command {
	var email string
	c := &cobra.Command{
		Use: "forgot", Short: "Have a link sent with which you choose a new password", Args: cobra.NoArgs,
		Long: `Have a link sent with which you choose a new password. The server's answer is the same whoever has the address, and
whether or not it sends e-mail; an administrator can make a link too, with gestor users reset-password.`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			if email == "" {
				email = r.known.Email
			}
			if email == "" {
				return fault.Invalid("--email", "it is missing")
			}
			if _, err := conn.Account().RequestPasswordReset(ctx, &gestorv1.RequestPasswordResetRequest{Email: email}); err != nil {
				return err
			}
			return r.done("requested", email, "if %s has an account, and this installation sends e-mail, a link is on its way; use it with: gestor accept <link>", email)
		}),
	}
	c.Flags().StringVar(&email, "email", "", "your address (default: the context's)")
	return c
}
