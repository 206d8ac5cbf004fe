package cmd

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) tokensCmd() *cobra.Command {
	return noun("tokens", "The tokens with which programs come in", []string{"token"},
		r.tokensListCmd(), r.tokensCreateCmd(), r.tokensRevokeCmd())
}

func (r *run) tokensListCmd() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List your tokens, or all of the tenant", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			tokens, err := tokens(ctx, conn, all)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListTokensResponse{Tokens: tokens})
			}
			t := output.NewTable("NAME", "KIND", "MAY", "FOR", "MADE BY", "USED", "FROM", "ENDS", "ID")
			for _, k := range tokens {
				t.Row(k.GetName(), tokenKind(k), tokenMay(k), narrowed(k.GetNarrowing()), k.GetUserEmail(), r.out.Ago(k.GetSeenAt()),
					k.GetSeenFrom(), r.out.Ago(k.GetExpiresAt()), k.GetId())
			}
			r.out.Table(t, "no token yet; make one with: gestor tokens create <name>")
			return nil
		}),
	}
	c.Flags().BoolVar(&all, "all", false, "all tokens of the tenant; for admins")
	return c
}

func tokens(ctx context.Context, conn *client.Client, all bool) ([]*gestorv1.Token, error) {
	if !all {
		res, err := conn.Tokens().ListTokens(ctx, &gestorv1.ListTokensRequest{})
		return res.GetTokens(), err
	}
	return collect(0, func(p *gestorv1.PageRequest) ([]*gestorv1.Token, *gestorv1.PageResponse, error) {
		res, err := conn.Tokens().ListTenantTokens(ctx, &gestorv1.ListTenantTokensRequest{Page: p})
		return res.GetTokens(), res.GetPage(), err
	})
}

func tokenKind(k *gestorv1.Token) string {
	kind := output.Enum(k.GetKind(), "TOKEN_KIND_")
	if k.GetRole() != gestorv1.Role_ROLE_UNSPECIFIED {
		kind += ", " + roleName(k.GetRole())
	}
	return kind
}

// tokenMay is what a token is for; most are for all that their user may.
func tokenMay(k *gestorv1.Token) string {
	if len(k.GetPermissions()) == 0 {
		return "all"
	}
	return strings.Join(k.GetPermissions(), " ")
}

// narrowed is the apps and environments that somebody is kept to.
func narrowed(n *gestorv1.Narrowing) string {
	all := append([]string{}, n.GetApps()...)
	for _, e := range n.GetEnvironments() {
		all = append(all, output.Enum(e, "ENVIRONMENT_"))
	}
	if len(all) == 0 {
		return "all apps"
	}
	return strings.Join(all, " ")
}

type tokenOptions struct {
	role                            string
	permissions, apps, environments []string
	lifetime                        string
	isService                       bool
}

func (r *run) tokensCreateCmd() *cobra.Command {
	var o tokenOptions
	c := &cobra.Command{
		Use: "create <name>", Short: "Make a token, and show its secret once", Args: cobra.ExactArgs(1),
		Long: `Make a token for a program, a CI server say. It may do what you may, or less:
--permission names what it is for (see gestor permissions), --app and --environment the apps.

What needs a recent proof of identity (deleting things, join tokens, reading secrets) a token may only do if that
permission is named. With --service the token belongs to the tenant, has a role of its own, and outlives you.`,
		Example: `  gestor tokens create ci --permission DEPLOY --permission APP_READ --app shop --lifetime 90d
  GESTOR_URL=https://ctl.example:8443 GESTOR_TOKEN=gst_… gestor deploy shop`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			settings, err := o.settings(args[0])
			if err != nil {
				return err
			}
			made, secret, err := o.create(ctx, conn, settings)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.CreateTokenResponse{Token: made, Secret: secret})
			}
			r.out.Notef("the secret of %s, shown this once; it ends %s:", made.GetName(), r.out.Ago(made.GetExpiresAt()))
			r.out.Linef("%s", secret)
			return nil
		}),
	}
	c.Flags().StringArrayVar(&o.permissions, "permission", nil, "what it is for, DEPLOY say; may be repeated (default: all you may)")
	c.Flags().StringArrayVar(&o.apps, "app", nil, "an app it is for; may be repeated (default: all)")
	c.Flags().StringArrayVar(&o.environments, "environment", nil, "an environment it is for: development, staging, production; may be repeated")
	c.Flags().StringVar(&o.lifetime, "lifetime", "90d", "how long it is good for, at most 366d")
	c.Flags().BoolVar(&o.isService, "service", false, "make a token of the tenant instead of one of yours; for admins")
	c.Flags().StringVar(&o.role, "role", "developer", "the role of a service token: admin, devops, developer, viewer")
	_ = c.RegisterFlagCompletionFunc("app", r.completeAppFlag)
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"admin", "devops", "developer", "viewer"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("environment", cobra.FixedCompletions([]string{"development", "staging", "production"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (o tokenOptions) settings(name string) (*gestorv1.TokenSettings, error) {
	s := &gestorv1.TokenSettings{Name: name, Permissions: o.permissions}
	lifetime, err := parseDays("lifetime", o.lifetime)
	if err != nil {
		return nil, err
	}
	s.Lifetime = durationpb.New(lifetime)
	if len(o.apps) == 0 && len(o.environments) == 0 {
		return s, nil
	}
	s.Narrowing = &gestorv1.Narrowing{Apps: o.apps}
	for _, name := range o.environments {
		e, ok := gestorv1.Environment_value["ENVIRONMENT_"+strings.ToUpper(name)]
		if !ok || e == 0 {
			return nil, fault.Invalid("environment", "there is no environment %q", name).WithFix("it is development, staging or production")
		}
		s.Narrowing.Environments = append(s.Narrowing.Environments, gestorv1.Environment(e))
	}
	return s, nil
}

func (o tokenOptions) create(ctx context.Context, conn *client.Client, s *gestorv1.TokenSettings) (*gestorv1.Token, string, error) {
	if !o.isService {
		res, err := conn.Tokens().CreateToken(ctx, &gestorv1.CreateTokenRequest{Settings: s})
		return res.GetToken(), res.GetSecret(), err
	}
	role, ok := gestorv1.Role_value["ROLE_"+strings.ToUpper(o.role)]
	if !ok || role == 0 {
		return nil, "", fault.Invalid("role", "there is no role %q", o.role).WithFix("it is admin, devops, developer or viewer")
	}
	res, err := conn.Tokens().CreateServiceToken(ctx, &gestorv1.CreateServiceTokenRequest{Settings: s, Role: gestorv1.Role(role)})
	return res.GetToken(), res.GetSecret(), err
}

// parseDays reads a span that people give in days, "90d", or as Go writes it, "36h".
func parseDays(field, s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fault.Invalid(field, "%q is no span of time", s).WithFix("write 90d or 36h")
	}
	return d, nil
}

func (r *run) tokensRevokeCmd() *cobra.Command {
	var tenant bool
	c := &cobra.Command{
		Use: "revoke <token>", Aliases: []string{"delete", "rm"}, Short: "Take a token back, at once", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeTokens,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			var err error
			if tenant {
				_, err = conn.Tokens().DeleteTenantToken(ctx, &gestorv1.DeleteTenantTokenRequest{Token: args[0]})
			} else {
				_, err = conn.Tokens().DeleteToken(ctx, &gestorv1.DeleteTokenRequest{Token: args[0]})
			}
			if err != nil {
				return err
			}
			return r.done("revoked", args[0], "the token %s is worth nothing any more", args[0])
		}),
	}
	c.Flags().BoolVar(&tenant, "tenant", false, "any token of the tenant, by its id, or a service token by its name; for admins")
	return c
}
