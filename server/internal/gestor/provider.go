package gestor

import (
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// ProviderID names a provider: "prv_…".
type ProviderID string

// IdentityID names an identity: "idn_…".
type IdentityID string

// Provider is another place where people of a tenant may sign in.
type Provider struct {
	ID           ProviderID
	TenantID     TenantID
	Name         string // unique in the tenant
	Issuer       string // as the provider itself writes it
	ClientID     string
	SecretSealed []byte   // sealed for ProviderPlace; empty for a client without a secret
	Scopes       []string // besides openid
	Domains      []string // of the addresses that may sign in; each has one provider in the installation
	TrustFactor  bool     // its word counts as the second factor too
	CreateUsers  bool     // people become users at their first sign-in
	Role         Role     // that they become; never RoleAdmin
	Disabled     bool
	Operators    bool // operators may sign in through it: one saw to it last
	CreatedBy    string
	CreatedAt    time.Time
	Revision     uint64
}

// ProviderPlace is what the client secret of a provider is sealed for.
func ProviderPlace(id ProviderID) string { return string(id) + "/client_secret" }

// Limits on providers.
const (
	MostProviders       = 10               // of a tenant
	MostProviderDomains = 50               // of a provider
	ProviderAnswerTime  = 10 * time.Minute // until people must be back from it
)

// Takes reports whether the people of an address may sign in through p.
func (p Provider) Takes(email string) bool {
	_, domain, ok := strings.Cut(email, "@")
	return ok && slices.Contains(p.Domains, domain)
}

// CheckMailDomain checks the domain of addresses and returns the form to keep and compare.
func CheckMailDomain(field, s string) (string, error) {
	email, err := CheckEmail(field, "x@"+strings.Trim(s, " "))
	_, domain, _ := strings.Cut(email, "@")
	if err != nil || !strings.Contains(domain, ".") {
		return "", fault.Invalid(field, "%s is no domain of e-mail addresses", quote(s)).WithFix("write what stands behind the @: example.com")
	}
	return domain, nil
}

// Audited shows a provider but for its secret.
func (p Provider) Audited() map[string]any {
	return map[string]any{
		"name": p.Name, "issuer": p.Issuer, "client_id": p.ClientID, "client_secret": masked(len(p.SecretSealed) > 0), "scopes": p.Scopes,
		"domains": p.Domains, "trust_second_factor": p.TrustFactor, "create_users": p.CreateUsers, "role": string(p.Role),
		"disabled": p.Disabled, "operators": p.Operators,
	}
}

// Identity is who a user is at a provider.
type Identity struct {
	ID         IdentityID
	TenantID   TenantID
	ProviderID ProviderID
	Subject    string // how the provider names them
	UserID     UserID
	Email      string // that the provider gave last
	CreatedAt  time.Time
	SeenAt     time.Time   // when the user last signed in through it
	Answers    []Challenge // of the provider that were shown and could be shown again
	Revision   uint64
}

// Audited shows who somebody is at a provider.
func (i Identity) Audited() map[string]any {
	return map[string]any{"provider": string(i.ProviderID), "subject": i.Subject, "user": string(i.UserID), "provider_email": i.Email}
}
