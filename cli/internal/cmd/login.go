package cmd

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type loginOptions struct {
	trust
	email, name   string
	passwordStdin bool
	code          string
	again         bool
	browser       bool
	token         bool
}

func (r *run) loginCmd() *cobra.Command {
	var o loginOptions
	c := &cobra.Command{
		Use:   "login [url]",
		Short: "Sign in",
		Long: `Sign in to a server, the current context's if no address is given.

A server with a certificate of its own root is recognised by --pin, or by you when it shows the pin.

If you have a second factor, the code of your app or a recovery code is asked for. Passkeys work in a browser: --browser.
With --again you stay signed in and prove once more who you are, which some commands want within the last five minutes.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if o.again {
				return r.loginAgain(c.Context(), o)
			}
			return r.login(c.Context(), optional(args), o)
		},
	}
	o.flags(c.Flags())
	c.Flags().StringVar(&o.email, "email", "", "your address")
	c.Flags().BoolVar(&o.passwordStdin, "password-stdin", false, "read the password from standard input")
	c.Flags().StringVar(&o.code, "code", "", "the code of your app, or a recovery code, if you have a second factor")
	c.Flags().BoolVar(&o.again, "again", false, "prove again who you are, in the session that there is")
	c.Flags().BoolVar(&o.browser, "browser", false, "sign in by approving in a browser: with a passkey or your company's sign-in, say")
	c.Flags().BoolVar(&o.token, "token-stdin", false, "use a token (gestor tokens create), read from standard input")
	c.Flags().StringVar(&o.name, "name", "", "the context's name (default: the server's host)")
	c.MarkFlagsMutuallyExclusive("browser", "token-stdin", "password-stdin")
	c.MarkFlagsMutuallyExclusive("browser", "token-stdin", "again")
	return c
}

func (r *run) login(ctx context.Context, raw string, o loginOptions) error {
	contexts, err := r.contexts()
	if err != nil {
		return err
	}
	name, target, err := r.loginTarget(ctx, contexts, raw, o)
	if err != nil {
		return cause(ctx, err)
	}
	if r.conn, err = r.dial(target); err != nil {
		return err
	}
	switch {
	case o.browser:
		return r.loginByBrowser(ctx, contexts, name, target)
	case o.token:
		return r.loginByToken(ctx, contexts, name, target)
	}
	req := &gestorv1.CreateSessionRequest{}
	if o.email == "" {
		o.email = target.Email
	}
	if req.Email, err = r.email(o.email); err != nil {
		return err
	}
	if req.Password, err = r.secret("Password of "+req.GetEmail(), "--password-stdin", o.passwordStdin); err != nil {
		return err
	}
	res, err := r.conn.Sessions().CreateSession(ctx, req)
	if err != nil {
		return cause(ctx, err)
	}
	session, token := res.GetSession(), res.GetToken()
	if asked := res.GetSecondFactor(); asked != nil {
		if session, token, err = r.secondStep(ctx, asked, o.code); err != nil {
			return cause(ctx, err)
		}
	}
	return r.signedIn(ctx, contexts, name, target, token, session)
}

// loginTarget is the stored context, or a new one for an address.
func (r *run) loginTarget(ctx context.Context, all *client.Contexts, raw string, o loginOptions) (string, client.Context, error) {
	if raw == "" && len(r.asked) > 0 {
		raw = r.asked[0]
	}
	if raw == "" {
		name, known, err := all.Get(r.wantedContext())
		if err == nil && o.pin != "" {
			known.Cluster, known.Servers = "", nil // it may be another installation now
			known.Roots, err = r.roots(ctx, known.URL, o.trust)
		}
		known.Token = ""
		return name, known, err
	}
	base, err := client.CheckURL(raw)
	if err != nil {
		return "", client.Context{}, err
	}
	name := o.name
	if name == "" {
		name = contextNameFor(all, base)
	}
	if known, ok := all.Contexts[name]; ok && known.URL == base && o.pin == "" && !o.firstUse {
		known.Token = ""
		return name, known, nil
	}
	roots, err := r.roots(ctx, base, o.trust)
	return name, client.Context{URL: base, Roots: roots}, err
}

func (r *run) logoutCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "Sign out",
		Long:  "Sign out: the server forgets the session and this computer forgets the token. The context stays.",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return r.logout(c.Context()) },
	}
}

func (r *run) logout(ctx context.Context) error {
	contexts, err := r.contexts()
	if err != nil {
		return err
	}
	name, known, err := contexts.Get(r.wantedContext())
	if err != nil {
		return err
	}
	if known.Token == "" {
		r.out.Notef("not signed in to %s", name)
		return nil
	}
	if r.conn, err = r.dial(known); err != nil {
		return err
	}
	_, remote := r.conn.Sessions().DeleteSession(ctx, &gestorv1.DeleteSessionRequest{})
	known.Token = ""
	if err := contexts.Put(name, known); err != nil {
		return err
	}
	if remote != nil && fault.KindOf(remote) != fault.KindUnauthenticated {
		return fault.Wrap(remote, "the token is forgotten here, but the server still knows the session")
	}
	return r.done("signed_out", name, "signed out of %s", name)
}

func (r *run) whoamiCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Show who is signed in, and what they may do",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return r.whoami(c.Context()) },
	}
}

func (r *run) whoami(ctx context.Context) error {
	conn, err := r.client()
	if err != nil {
		return err
	}
	res, err := conn.Sessions().GetSession(ctx, &gestorv1.GetSessionRequest{})
	if err != nil {
		return cause(ctx, err)
	}
	if r.out.JSON {
		return r.out.Object(res)
	}
	s := res.GetSession()
	var may []string
	for _, p := range res.GetPermissions() {
		may = append(may, strings.ReplaceAll(output.Enum(p, "PERMISSION_"), "_", "."))
	}
	r.out.Fields(
		[2]any{"user", s.GetEmail()}, [2]any{"role", roleName(s.GetRole())}, [2]any{"tenant", s.GetTenantName()},
		[2]any{"server", "https://" + conn.Address()}, [2]any{"context", r.name}, [2]any{"expires", r.out.Ago(s.GetExpiresAt())},
		[2]any{"may", strings.Join(may, " ")},
	)
	return nil
}

func (r *run) email(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if !r.env.InTerminal || r.out.JSON {
		return "", fault.Invalid("email", "it is needed and nobody is there to ask").WithFix("add --email")
	}
	return r.ask("E-mail:")
}

func roleName(role gestorv1.Role) string { return output.Enum(role, "ROLE_") }

func domainOf(email string) string {
	if at := strings.LastIndex(email, "@"); at >= 0 && at < len(email)-1 {
		return email[at+1:]
	}
	return "default"
}

func readLine(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fault.Invalid("secret-file", "%v", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// optional is the argument that may be left out.
func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
