package api

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/outward"
)

// providerIn checks what is chosen of a provider and puts it in.
func providerIn(p *gestor.Provider, in *gestorv1.ProviderSettings, plain bool) error {
	var err error
	if p.Name, err = gestor.CheckTitle("settings.name", in.GetName()); err != nil {
		return err
	}
	if len(p.Name) > 4 && p.Name[:4] == "prv_" {
		return fault.Invalid("settings.name", "a name does not begin like an id").WithFix("leave out the prv_")
	}
	if err := checkIssuer(in.GetIssuer(), plain); err != nil {
		return err
	}
	if p.Scopes, err = scopesIn(in.GetScopes()); err != nil {
		return err
	}
	if p.Domains, err = mailDomainsIn(in.GetDomains()); err != nil {
		return err
	}
	if !visibleASCII.MatchString(in.GetClientId()) {
		return fault.Invalid("settings.client_id", "it is no client id").WithFix("copy it anew from the provider")
	}
	p.Issuer, p.ClientID, p.Role = in.GetIssuer(), in.GetClientId(), gestor.RoleDeveloper
	if in.GetRole() != gestorv1.Role_ROLE_UNSPECIFIED {
		p.Role = domainName(roles, in.GetRole())
	}
	p.TrustFactor, p.CreateUsers, p.Disabled = in.GetTrustSecondFactor(), in.GetCreateUsers(), in.GetDisabled()
	return nil
}

var visibleASCII = regexp.MustCompile(`^[!-~]+$`)

func checkIssuer(issuer string, plain bool) error {
	const field = "settings.issuer"
	u, err := outward.ParseURL(field, issuer)
	if err != nil {
		return err
	}
	if u.RawQuery != "" || u.ForceQuery {
		return fault.Invalid(field, "an issuer has no ? in it").WithFix("copy it from the provider's page /.well-known/openid-configuration")
	}
	if u.Scheme != "https" && !plain {
		return fault.Invalid(field, "an issuer is reached with https").
			WithFix("use https, or ask an operator to allow the provider's network in the section [outgoing]")
	}
	return nil
}

var scopeText = regexp.MustCompile(`^[!#-\[\]-~]+$`) // RFC 6749 3.3

func scopesIn(scopes []string) ([]string, error) {
	if len(scopes) == 0 {
		return []string{"email", "profile"}, nil
	}
	var out []string
	for i, s := range scopes {
		if !scopeText.MatchString(s) {
			return nil, fault.Invalid(fmt.Sprintf("settings.scopes[%d]", i), "%.80q is no scope", s).WithFix("write one word, like email")
		}
		if s != "openid" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

func mailDomainsIn(domains []string) ([]string, error) {
	var out []string
	for i, d := range domains {
		domain, err := gestor.CheckMailDomain(fmt.Sprintf("settings.domains[%d]", i), d)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, domain) {
			out = append(out, domain)
		}
	}
	return out, nil
}

func providerOut(p gestor.Provider, redirect string, linked int64) *gestorv1.Provider {
	return &gestorv1.Provider{
		Id: string(p.ID),
		Settings: &gestorv1.ProviderSettings{
			Name: p.Name, Issuer: p.Issuer, ClientId: p.ClientID, Scopes: p.Scopes, Domains: p.Domains,
			TrustSecondFactor: p.TrustFactor, CreateUsers: p.CreateUsers, Role: roles[p.Role], Disabled: p.Disabled,
		},
		HasSecret: len(p.SecretSealed) > 0, RedirectUrl: redirect, Operators: p.Operators, Identities: linked,
		CreatedBy: p.CreatedBy, CreatedAt: timeOut(p.CreatedAt), Revision: p.Revision,
	}
}

func identityOut(i gestor.Identity, u gestor.User) *gestorv1.Identity {
	return &gestorv1.Identity{
		Id: string(i.ID), ProviderId: string(i.ProviderID), UserId: string(i.UserID), Email: u.Email, Subject: i.Subject,
		ProviderEmail: i.Email, CreatedAt: timeOut(i.CreatedAt), SeenAt: timeOut(i.SeenAt),
	}
}
