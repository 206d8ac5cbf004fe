package cmd

import (
	"context"
	"net/url"
	"path"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type acceptOptions struct {
	trust
	name          string
	passwordStdin bool
}

func (r *run) acceptCmd() *cobra.Command {
	var o acceptOptions
	c := &cobra.Command{
		Use: "accept <link>", Short: "Use a link you were given: an invitation, a new password, a confirmed address", Args: cobra.ExactArgs(1),
		Long: `Use a link you were given: accept an invitation, choose a new password, or confirm an address. Put the link in single
quotes. Whoever has the link can do the same, once: do not pass it on.`,
		Example: "  gestor accept 'https://ctl.example:8443/invite#gsi_…' --name 'Bia Souza'",
		RunE: func(c *cobra.Command, args []string) error {
			return cause(c.Context(), r.accept(c.Context(), args[0], o))
		},
	}
	o.flags(c.Flags())
	c.Flags().StringVar(&o.name, "name", "", "how lists show you, for an invitation")
	c.Flags().BoolVar(&o.passwordStdin, "password-stdin", false, "read the new password from standard input")
	return c
}

// givenLink is a link as people get it: the secret stands behind the #.
type givenLink struct{ base, kind, secret string }

func parseLink(raw string) (givenLink, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Fragment == "" {
		return givenLink{}, fault.Invalid("link", "it is no link of an invitation, a new password or an address").
			WithFix("copy all of it, with what stands behind the #, and put it in single quotes")
	}
	l := givenLink{kind: path.Base(u.Path), secret: u.Fragment}
	l.base, err = client.CheckURL(u.Scheme + "://" + u.Host)
	return l, err
}

func (r *run) accept(ctx context.Context, raw string, o acceptOptions) error {
	l, err := parseLink(raw)
	if err != nil {
		return err
	}
	if r.conn, err = r.dialLink(ctx, l.base, o.trust); err != nil {
		return err
	}
	switch l.kind {
	case "invite":
		return r.acceptInvitation(ctx, l, o)
	case "reset":
		return r.acceptReset(ctx, l, o)
	case "confirm":
		res, err := r.conn.Account().ConfirmEmail(ctx, &gestorv1.ConfirmEmailRequest{Secret: l.secret})
		if err != nil {
			return err
		}
		return r.done("confirmed", res.GetEmail(), "%s is confirmed as your address", res.GetEmail())
	}
	return fault.Invalid("link", "it leads to /%s, which is no invitation, new password or address", l.kind).
		WithFix("copy all of it, with what stands behind the #, and put it in single quotes")
}

// dialLink talks to the server of a link, without a token. A server that is known is trusted as before.
func (r *run) dialLink(ctx context.Context, base string, t trust) (*client.Client, error) {
	all, err := r.contexts()
	if err != nil {
		return nil, err
	}
	target := client.Context{URL: base}
	for _, known := range all.Contexts {
		if known.URL == base && t.pin == "" {
			target.Roots, target.Cluster = known.Roots, known.Cluster
			return r.dial(target)
		}
	}
	if file := r.env.Getenv("GESTOR_CA_FILE"); file != "" {
		_, _, target, err = r.environment(target)
		target.Token = ""
	} else {
		target.Roots, err = r.roots(ctx, base, t)
	}
	if err != nil {
		return nil, err
	}
	return r.dial(target)
}

func (r *run) acceptInvitation(ctx context.Context, l givenLink, o acceptOptions) error {
	password, err := r.newPassword(o.passwordStdin)
	if err != nil {
		return err
	}
	res, err := r.conn.Invitations().AcceptInvitation(ctx, &gestorv1.AcceptInvitationRequest{Secret: l.secret, Password: password, Name: o.name})
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(res)
	}
	r.out.Linef("welcome to %s", res.GetTenantName())
	r.out.Notef("sign in with: gestor login %s --email %s", l.base, res.GetEmail())
	return nil
}

func (r *run) acceptReset(ctx context.Context, l givenLink, o acceptOptions) error {
	password, err := r.newPassword(o.passwordStdin)
	if err != nil {
		return err
	}
	res, err := r.conn.Account().ConfirmPasswordReset(ctx, &gestorv1.ConfirmPasswordResetRequest{Secret: l.secret, Password: password})
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(res)
	}
	r.out.Linef("%s has a new password, and is signed out everywhere", res.GetEmail())
	r.out.Notef("sign in with: gestor login %s --email %s", l.base, res.GetEmail())
	return nil
}
