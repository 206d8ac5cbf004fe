package cmd

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) providersCmd() *cobra.Command {
	return noun("providers", "Where else people may sign in, by OpenID Connect", []string{"provider"},
		r.providersListCmd(), r.providersAddCmd(), r.providersSetCmd(), r.providersTestCmd(), r.providersRemoveCmd(), r.providersPeopleCmd(), r.providersUnlinkCmd())
}

func (r *run) providersListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the providers, and what to enter there", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			res, err := conn.Providers().ListProviders(ctx, &gestorv1.ListProvidersRequest{})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			t := output.NewTable("NAME", "ISSUER", "DOMAINS", "WHO COMES IN", "SECOND FACTOR", "LINKED")
			for _, p := range res.GetProviders() {
				s := p.GetSettings()
				t.Row(s.GetName(), s.GetIssuer(), strings.Join(s.GetDomains(), " "), whoComesIn(p), factorText(s), number(int(p.GetIdentities())))
			}
			r.out.Table(t, "no provider yet; make one with: gestor providers add <name> --issuer <url> --client-id <id> --domain <domain>")
			r.out.Notef("redirect address to enter at a provider: %s", output.Clean(res.GetRedirectUrl()))
			return nil
		}),
	}
}

// whoComesIn is who may sign in through a provider.
func whoComesIn(p *gestorv1.Provider) string {
	s := p.GetSettings()
	text := "users"
	if s.GetCreateUsers() {
		text = "everybody, as " + output.Enum(s.GetRole(), "ROLE_")
	}
	if !p.GetOperators() {
		text += ", no operators"
	}
	if s.GetDisabled() {
		text = "nobody: off"
	}
	return text
}

func factorText(s *gestorv1.ProviderSettings) string {
	if s.GetTrustSecondFactor() {
		return "the provider's word"
	}
	return "asked for here"
}

func (r *run) providersTestCmd() *cobra.Command {
	return &cobra.Command{
		Use: "test <provider>", Short: "Ask a provider who it is, and say what came of it", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeProviders,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Providers().TestProvider(ctx, &gestorv1.TestProviderRequest{Provider: args[0]})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			if !res.GetGood() {
				return failed("nobody can sign in through %s now: %s", args[0], res.GetError())
			}
			r.out.Linef("people are sent to %s; the provider has %d keys", output.Clean(res.GetAuthorizationEndpoint()), res.GetKeys())
			return nil
		}),
	}
}

func (r *run) providersRemoveCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "remove <provider>", Aliases: []string{"rm"}, Short: "Remove a provider; who it made a user stays one", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeProviders,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			if !yes {
				if err := r.confirm("Remove the provider "+args[0]+"? Who has no password must ask for one then.", "--yes"); err != nil {
					return err
				}
			}
			res, err := conn.Providers().DeleteProvider(ctx, &gestorv1.DeleteProviderRequest{Provider: args[0], RequestId: requestID()})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("the provider %s is removed", args[0])
			return nil
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (r *run) providersPeopleCmd() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "people [user]", Short: "Who is who at the providers", Args: cobra.MaximumNArgs(1), ValidArgsFunction: r.completeUsers,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			found, err := collect(limit, func(p *gestorv1.PageRequest) ([]*gestorv1.Identity, *gestorv1.PageResponse, error) {
				res, err := conn.Providers().ListIdentities(ctx, &gestorv1.ListIdentitiesRequest{User: optional(args), Page: p})
				return res.GetIdentities(), res.GetPage(), err
			})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(&gestorv1.ListIdentitiesResponse{Identities: found})
			}
			t := output.NewTable("USER", "THERE", "SUBJECT", "SIGNED IN", "ID")
			for _, i := range found {
				t.Row(i.GetEmail(), i.GetProviderEmail(), i.GetSubject(), r.out.Ago(i.GetSeenAt()), i.GetId())
			}
			r.out.Table(t, "nobody has signed in through a provider")
			return nil
		}),
	}
	c.Flags().IntVar(&limit, "limit", 50, "how many; 0 for all")
	return c
}

func (r *run) providersUnlinkCmd() *cobra.Command {
	return &cobra.Command{
		Use: "unlink <id>", Short: "Forget who somebody is at a provider; see gestor providers people", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeIdentities,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Providers().DeleteIdentity(ctx, &gestorv1.DeleteIdentityRequest{Identity: args[0], RequestId: requestID()})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("%s is forgotten", args[0])
			return nil
		}),
	}
}

func (r *run) completeProviders(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		res, err := conn.Providers().ListProviders(ctx, &gestorv1.ListProvidersRequest{})
		var names []string
		for _, p := range res.GetProviders() {
			names = append(names, output.Clean(p.GetSettings().GetName()))
		}
		return names, err
	})
}

func (r *run) completeIdentities(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		res, err := conn.Providers().ListIdentities(ctx, &gestorv1.ListIdentitiesRequest{})
		var ids []string
		for _, i := range res.GetIdentities() {
			ids = append(ids, i.GetId()+"\t"+output.Clean(i.GetEmail()))
		}
		return ids, err
	})
}
