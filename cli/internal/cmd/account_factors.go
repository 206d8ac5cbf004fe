package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) accountTOTPCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "totp", Short: "Set up an authenticator app as your second factor", Args: cobra.NoArgs,
		Long: `Set up an authenticator app as your second factor. It shows a QR code and the same secret as text; you type the six
digits that the app shows then. An app that is set up already is replaced.

With your first second factor you get ten recovery codes. Each of them works once, for when the app is lost.`,
		RunE: r.with(r.setUpTOTP),
	}
	c.AddCommand(&cobra.Command{
		Use: "remove", Aliases: []string{"rm"}, Short: "Remove the authenticator app", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			factors, err := r.ownFactors(ctx, conn)
			if err != nil {
				return err
			}
			for _, f := range factors {
				if f.GetKind() == byApp {
					return r.removeFactor(ctx, conn, f.GetId(), "the authenticator app")
				}
			}
			return fault.NotFound("no authenticator app is set up").WithFix("set one up: gestor account totp")
		}),
	})
	return c
}

func (r *run) setUpTOTP(ctx context.Context, conn *client.Client, _ []string) error {
	if !r.env.InTerminal || r.out.JSON {
		return fault.Invalid("", "this is done on a terminal: you type what the app shows").WithFix("run it on a terminal, or in the browser")
	}
	begun, err := conn.Factors().BeginTOTP(ctx, &gestorv1.BeginTOTPRequest{})
	if err != nil {
		return err
	}
	r.out.Notef("scan this with an authenticator app, or type the secret into it:")
	if err := r.out.QR(begun.GetUri()); err != nil {
		return err
	}
	r.out.Linef("secret  %s", begun.GetSecret())
	for n := 1; ; n++ {
		code, err := r.ask("Code that it shows:")
		if err != nil {
			return err
		}
		res, err := conn.Factors().ConfirmTOTP(ctx, &gestorv1.ConfirmTOTPRequest{Pending: begun.GetPending(), Code: code, RequestId: requestID()})
		if fault.KindOf(err) == fault.KindInvalid && err != nil && n < attempts {
			r.reportText(err)
			continue
		}
		if err != nil {
			return err
		}
		r.out.Linef("the app is your second factor now")
		r.showRecoveryCodes(res.GetRecoveryCodes())
		return nil
	}
}

func (r *run) showRecoveryCodes(codes []string) {
	if len(codes) == 0 {
		return
	}
	r.out.Notef("keep these recovery codes in a safe place, they are shown only now; each works once:")
	for _, code := range codes {
		r.out.Linef("  %s", code)
	}
}

func (r *run) accountRecoveryCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "recovery-codes", Short: "Make new recovery codes; the old ones end", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			if !yes {
				if err := r.confirm("The recovery codes you have will be worth nothing. Make new ones?", "--yes"); err != nil {
					return err
				}
			}
			res, err := conn.Factors().CreateRecoveryCodes(ctx, &gestorv1.CreateRecoveryCodesRequest{})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.showRecoveryCodes(res.GetRecoveryCodes())
			return nil
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (r *run) accountPasskeysCmd() *cobra.Command {
	list := r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
		res, err := conn.Factors().ListFactors(ctx, &gestorv1.ListFactorsRequest{})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		t := output.NewTable("ID", "NAME", "SINCE", "USED", "SYNCED")
		for _, f := range res.GetFactors() {
			if f.GetKind() == gestorv1.FactorKind_FACTOR_KIND_PASSKEY {
				t.Row(f.GetId(), f.GetName(), r.out.Ago(f.GetCreatedAt()), r.out.Ago(f.GetSeenAt()), yesNo(f.GetSynced()))
			}
		}
		r.out.Table(t, "you have no passkeys; they are made in a browser, on the page of your account")
		r.out.Notef("%d recovery codes are left", res.GetRecoveryCodesLeft())
		return nil
	})
	rename := &cobra.Command{
		Use: "rename <id> <name>", Short: "Give a passkey another name", Args: cobra.ExactArgs(2), ValidArgsFunction: r.completePasskeys,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			req := &gestorv1.RenameFactorRequest{FactorId: args[0], Name: args[1], RequestId: requestID()}
			if _, err := conn.Factors().RenameFactor(ctx, req); err != nil {
				return err
			}
			return r.done("renamed", args[0], "the passkey is called %s", args[1])
		}),
	}
	remove := &cobra.Command{
		Use: "remove <id>", Aliases: []string{"rm"}, Short: "Remove a passkey", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completePasskeys,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			return r.removeFactor(ctx, conn, args[0], "the passkey")
		}),
	}
	c := noun("passkeys", "Your passkeys; they are made in a browser", []string{"passkey"}, rename, remove)
	c.RunE = list
	return c
}

func (r *run) ownFactors(ctx context.Context, conn *client.Client) ([]*gestorv1.Factor, error) {
	res, err := conn.Factors().ListFactors(ctx, &gestorv1.ListFactorsRequest{})
	return res.GetFactors(), err
}

func (r *run) removeFactor(ctx context.Context, conn *client.Client, id, what string) error {
	if _, err := conn.Factors().RemoveFactor(ctx, &gestorv1.RemoveFactorRequest{FactorId: id, RequestId: requestID()}); err != nil {
		return err
	}
	return r.done("removed", id, "%s is gone", what)
}

func (r *run) completePasskeys(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		factors, err := r.ownFactors(ctx, conn)
		var names []string
		for _, f := range factors {
			if f.GetKind() == gestorv1.FactorKind_FACTOR_KIND_PASSKEY {
				names = append(names, output.Clean(f.GetId())+"\t"+output.Clean(f.GetName()))
			}
		}
		return names, err
	})
}

func (r *run) usersResetFactorsCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "reset-second-factor <user>", Short: "Remove all second factors of a person who has lost them", Args: cobra.ExactArgs(1),
		Long: `Remove app, passkeys and recovery codes of a person who has lost them, and sign the person out everywhere. Make sure that
it is that person who asks.`,
		ValidArgsFunction: r.completeUsers,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			if err := r.confirmName(args[0], "The password alone will be enough to sign in, until another second factor is set up.", yes); err != nil {
				return err
			}
			if _, err := conn.Factors().ResetFactors(ctx, &gestorv1.ResetFactorsRequest{User: args[0], RequestId: requestID()}); err != nil {
				return err
			}
			return r.done("reset", args[0], "%s has no second factor any more, and is signed out everywhere", args[0])
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}
