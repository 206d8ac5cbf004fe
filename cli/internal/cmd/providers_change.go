package cmd

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type providerOptions struct {
	name, issuer, clientID, secretFile, role string
	scopes, domains                          []string
	trust, create, off, on                   bool
}

func (o *providerOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.issuer, "issuer", "", "the provider's issuer, as it writes it itself: https://id.example.com/realms/company")
	f.StringVar(&o.clientID, "client-id", "", "the id that the provider gave this installation")
	f.StringVar(&o.secretFile, "secret-file", "", "file with the secret that the provider gave")
	f.StringSliceVar(&o.scopes, "scope", nil, "what is asked for besides openid; may be repeated (default email and profile)")
	f.StringSliceVar(&o.domains, "domain", nil, "domain of the addresses that may sign in; may be repeated")
	f.BoolVar(&o.trust, "trust-second-factor", false, "take the provider's word for the second factor too")
	f.BoolVar(&o.create, "create-users", false, "make people of these domains users at their first sign-in; otherwise only users come in")
	f.StringVar(&o.role, "role", "", "what they become: devops, developer or viewer")
}

func (r *run) providersAddCmd() *cobra.Command {
	var o providerOptions
	c := &cobra.Command{
		Use: "add <name>", Short: "Let people sign in at a provider of OpenID Connect", Args: cobra.ExactArgs(1),
		Long: `Let people sign in at a provider of OpenID Connect.

Register this installation at the provider first, as a web application with the redirect address that "gestor providers list"
shows; it gives a client id and a client secret. The secret is read from a file and never shown again.`,
		Example: `  gestor providers add Company --issuer https://id.example.com/realms/company --client-id gestor --secret-file secret.txt --domain example.com
  gestor providers test Company`,
	}
	o.register(c.Flags())
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		settings := &gestorv1.ProviderSettings{Name: args[0]}
		if err := o.apply(settings, c.Flags()); err != nil {
			return err
		}
		secret, err := r.providerSecret(o.secretFile)
		if err != nil {
			return err
		}
		res, err := conn.Providers().CreateProvider(ctx, &gestorv1.CreateProviderRequest{Settings: settings, ClientSecret: secret, RequestId: requestID()})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.showProvider(res.GetProvider())
		r.out.Notef("try it out: gestor providers test %s", args[0])
		return nil
	})
	return c
}

func (r *run) providerSecret(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	return readLine(r.path(file))
}

func (r *run) providersSetCmd() *cobra.Command {
	var o providerOptions
	c := &cobra.Command{
		Use: "set <provider>", Short: "Change a provider; what is not named stays", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeProviders,
		Example: `  gestor providers set Company --domain example.com --domain example.org
  gestor providers set Company --secret-file new-secret.txt
  gestor providers set Company --off`,
	}
	f := c.Flags()
	o.register(f)
	f.StringVar(&o.name, "name", "", "give it another name")
	f.BoolVar(&o.off, "off", false, "let nobody sign in through it")
	f.BoolVar(&o.on, "on", false, "let people sign in through it again")
	c.MarkFlagsMutuallyExclusive("on", "off")
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		now, err := conn.Providers().GetProvider(ctx, &gestorv1.GetProviderRequest{Provider: args[0]})
		if err != nil {
			return err
		}
		settings := now.GetProvider().GetSettings()
		if err := o.apply(settings, f); err != nil {
			return err
		}
		secret, err := r.providerSecret(o.secretFile)
		if err != nil {
			return err
		}
		res, err := conn.Providers().UpdateProvider(ctx, &gestorv1.UpdateProviderRequest{
			Provider: now.GetProvider().GetId(), Settings: settings, ClientSecret: secret, ExpectedRevision: now.GetProvider().GetRevision(), RequestId: requestID(),
		})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.showProvider(res.GetProvider())
		return nil
	})
	return c
}

// apply does to the settings of a provider what was given.
func (o *providerOptions) apply(s *gestorv1.ProviderSettings, f *pflag.FlagSet) error {
	for flag, to := range map[string]struct {
		to    *string
		given string
	}{"name": {&s.Name, o.name}, "issuer": {&s.Issuer, o.issuer}, "client-id": {&s.ClientId, o.clientID}} {
		if f.Changed(flag) {
			*to.to = to.given
		}
	}
	if f.Changed("scope") {
		s.Scopes = withoutEmpty(o.scopes)
	}
	if f.Changed("domain") {
		s.Domains = withoutEmpty(o.domains)
	}
	if f.Changed("trust-second-factor") {
		s.TrustSecondFactor = o.trust
	}
	if f.Changed("create-users") {
		s.CreateUsers = o.create
	}
	if f.Changed("role") {
		s.Role = gestorv1.Role(gestorv1.Role_value["ROLE_"+strings.ToUpper(o.role)])
		if s.GetRole() == gestorv1.Role_ROLE_UNSPECIFIED {
			return fault.Invalid("role", "there is no role %q", o.role).WithFix("use devops, developer or viewer")
		}
	}
	s.Disabled = (s.GetDisabled() || o.off) && !o.on
	return nil
}

func (r *run) showProvider(p *gestorv1.Provider) {
	s := p.GetSettings()
	r.out.Fields(
		[2]any{"provider", s.GetName()}, [2]any{"issuer", s.GetIssuer()}, [2]any{"client id", s.GetClientId()},
		[2]any{"domains", strings.Join(s.GetDomains(), " ")}, [2]any{"who comes in", whoComesIn(p)}, [2]any{"second factor", factorText(s)},
		[2]any{"redirect address", output.Clean(p.GetRedirectUrl())}, [2]any{"id", p.GetId()},
	)
}
