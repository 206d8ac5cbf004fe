package cmd

import (
	"context"
	"net/url"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type setupOptions struct {
	trust
	secret, secretFile, tenant, email, name string
	passwordStdin                           bool
}

func (r *run) setupCmd() *cobra.Command {
	var o setupOptions
	c := &cobra.Command{
		Use:   "setup <url>",
		Short: "Claim a fresh server: its first tenant and administrator",
		Long: `Claim a fresh server and become its administrator.

The server printed a one-time secret and a pin on its first start. The pin proves that you talk to that server before
the secret is sent.`,
		Example: `  gestor setup https://203.0.113.7:8443 --secret gsu_… --pin 5e8f… --email ana@example.com`,
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return r.setup(c, args[0], o) },
	}
	o.flags(c.Flags())
	c.Flags().StringVar(&o.secret, "secret", "", "the one-time secret the server printed (asked for if not given)")
	c.Flags().StringVar(&o.secretFile, "secret-file", "", "a file that holds it, which other users cannot see as they can an argument")
	c.Flags().StringVar(&o.tenant, "tenant", "", "the first tenant's name (default: the e-mail's domain)")
	c.Flags().StringVar(&o.email, "email", "", "the administrator's address, also the login name")
	c.Flags().BoolVar(&o.passwordStdin, "password-stdin", false, "read the password from standard input")
	c.Flags().StringVar(&o.name, "name", "", "the context's name (default: the server's host)")
	return c
}

func (r *run) setup(c *cobra.Command, raw string, o setupOptions) error {
	ctx := c.Context()
	base, err := client.CheckURL(raw)
	if err != nil {
		return err
	}
	contexts, err := r.contexts()
	if err != nil {
		return err
	}
	roots, err := r.roots(ctx, base, o.trust)
	if err != nil {
		return cause(ctx, err)
	}
	target := client.Context{URL: base, Roots: roots}
	if r.conn, err = r.dial(target); err != nil {
		return err
	}
	state, err := r.conn.Setup().GetSetup(ctx, &gestorv1.GetSetupRequest{})
	if err != nil {
		return cause(ctx, err)
	}
	if state.GetClaimed() {
		return fault.Conflict("%s is already claimed", base).WithFix("sign in with: gestor login %s", base)
	}
	req, err := r.claim(o)
	if err != nil {
		return err
	}
	res, err := r.conn.Setup().Claim(ctx, req)
	if err != nil {
		return cause(ctx, err)
	}
	return r.signedIn(ctx, contexts, o.name, target, res.GetToken(), res.GetSession())
}

// claim collects what a claim needs, asking for what the flags leave open.
func (r *run) claim(o setupOptions) (*gestorv1.ClaimRequest, error) {
	req := &gestorv1.ClaimRequest{Secret: o.secret, TenantName: o.tenant}
	var err error
	if o.secretFile != "" {
		if req.Secret, err = readLine(r.path(o.secretFile)); err != nil {
			return nil, err
		}
	}
	if req.Secret == "" {
		if req.Secret, err = r.secret("Secret the server printed", "--secret or --secret-file", false); err != nil {
			return nil, err
		}
	}
	if req.Email, err = r.email(o.email); err != nil {
		return nil, err
	}
	if req.TenantName == "" {
		req.TenantName = domainOf(req.GetEmail())
	}
	req.Password, err = r.newPassword(o.passwordStdin)
	return req, err
}

const minPassword = 10

func (r *run) newPassword(fromStdin bool) (string, error) {
	password, err := r.secret("New password (at least 10 characters)", "--password-stdin", fromStdin)
	if err != nil {
		return "", err
	}
	if utf8.RuneCountInString(password) < minPassword {
		return "", fault.Invalid("password", "it has fewer than %d characters", minPassword)
	}
	if fromStdin {
		return password, nil
	}
	again, err := r.secret("Again", "--password-stdin", false)
	if err == nil && again != password {
		err = fault.Invalid("password", "the two are not the same")
	}
	return password, err
}

// signedIn stores a new session as the current context.
func (r *run) signedIn(ctx context.Context, all *client.Contexts, name string, c client.Context, token string, s *gestorv1.Session) error {
	c.Token, c.Email, c.Tenant = token, s.GetEmail(), s.GetTenantName()
	if name == "" {
		name = contextNameFor(all, c.URL)
	}
	all.Current = name
	conn, err := r.dial(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := all.Put(name, r.learn(ctx, conn, c)); err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetSessionResponse{Session: s})
	}
	r.out.Linef("signed in to %s as %s (%s), context %s", c.URL, c.Email, roleName(s.GetRole()), name)
	return nil
}

// contextNameFor is the context that already stands for the address, or its host.
func contextNameFor(all *client.Contexts, base string) string {
	for _, name := range all.Names() {
		if all.Contexts[name].URL == base {
			return name
		}
	}
	u, err := url.Parse(base)
	if err != nil {
		return "default"
	}
	if _, taken := all.Contexts[u.Hostname()]; !taken && u.Hostname() != "" && u.Hostname()[0] != ':' {
		return u.Hostname()
	}
	return u.Host
}
