package state

import (
	"context"
	"errors"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var providers = newTableOf(levelPeople, Providers, "providers", []string{"id"}, func(p *gestor.Provider) []column {
	return []column{
		{"id", &p.ID},
		{"tenant_id", &p.TenantID},
		{"name", &p.Name},
		{"issuer", &p.Issuer},
		{"client_id", &p.ClientID},
		{"secret_sealed", &p.SecretSealed},
		{"scopes_json", &p.Scopes},
		{"domains_json", &p.Domains},
		{"trust_factor", &p.TrustFactor},
		{"create_users", &p.CreateUsers},
		{"role", &p.Role},
		{"disabled", &p.Disabled},
		{"operators", &p.Operators},
		{"created_by", &p.CreatedBy},
		{"created_at", &p.CreatedAt},
		{"revision", &p.Revision},
	}
})

type domainRow struct {
	domain   string
	tenant   gestor.TenantID
	provider gestor.ProviderID
	revision uint64
}

var providerDomains = newTableOf(levelPeople, Providers, "provider_domains", []string{"domain"}, func(d *domainRow) []column {
	return []column{{"domain", &d.domain}, {"tenant_id", &d.tenant}, {"provider_id", &d.provider}, {"revision", &d.revision}}
})

// Providers are the providers, by name.
func (v *View) Providers(ctx context.Context) ([]gestor.Provider, error) {
	return many(ctx, v, providers, " ORDER BY name, id")
}

// Provider is a provider.
func (v *View) Provider(ctx context.Context, id gestor.ProviderID) (gestor.Provider, error) {
	return one(ctx, v, providers, "provider", " AND id = ?", string(id))
}

// ProviderByName is the provider with a name.
func (v *View) ProviderByName(ctx context.Context, name string) (gestor.Provider, error) {
	return one(ctx, v, providers, "provider", " AND name = ?", name)
}

// ProviderByDomain is the provider of the addresses of a domain, enabled or not. A state that does not know providers has none.
func (v *View) ProviderByDomain(ctx context.Context, domain string) (gestor.Provider, error) {
	if v.from.level() < levelPeople {
		return gestor.Provider{}, fault.NotFound("there is no such provider")
	}
	return one(ctx, v, providers, "provider", " AND id = (SELECT provider_id FROM provider_domains WHERE domain = ?)", domain)
}

// HasProvider reports whether anybody in the scope may sign in elsewhere.
func (v *View) HasProvider(ctx context.Context) (bool, error) {
	if v.from.level() < levelPeople {
		return false, nil
	}
	found, err := many(ctx, v, providers, " AND disabled = 0 LIMIT 1")
	return len(found) > 0, err
}

// CountProviders is how many a tenant has.
func (x *Txn) CountProviders(ctx context.Context, tenant gestor.TenantID) (int64, error) {
	return x.number(ctx, "SELECT count(*) FROM providers WHERE tenant_id = ?", string(tenant))
}

// PutProvider writes a provider with its domains.
func (x *Txn) PutProvider(ctx context.Context, p gestor.Provider) error {
	p.Revision = x.Revision
	if err := x.exec(ctx, "DELETE FROM provider_domains WHERE provider_id = ?", string(p.ID)); err != nil {
		return err
	}
	for _, d := range p.Domains {
		if err := providerDomains.save(ctx, x, &domainRow{d, p.TenantID, p.ID, x.Revision}); err != nil {
			return err
		}
	}
	return providers.save(ctx, x, &p)
}

// DeleteProvider removes a provider with its domains and identities.
func (x *Txn) DeleteProvider(ctx context.Context, id gestor.ProviderID) error {
	return errors.Join(
		x.DeleteIdentitiesAt(ctx, id),
		x.exec(ctx, "DELETE FROM provider_domains WHERE provider_id = ?", string(id)),
		x.exec(ctx, "DELETE FROM providers WHERE id = ?", string(id)),
	)
}

var identities = newTableOf(levelPeople, Providers, "identities", []string{"id"}, func(i *gestor.Identity) []column {
	return []column{
		{"id", &i.ID},
		{"tenant_id", &i.TenantID},
		{"provider_id", &i.ProviderID},
		{"subject", &i.Subject},
		{"user_id", &i.UserID},
		{"email", &i.Email},
		{"created_at", &i.CreatedAt},
		{"seen_at", &i.SeenAt},
		{"answers_json", &i.Answers},
		{"revision", &i.Revision},
	}
})

// Identity is an identity.
func (v *View) Identity(ctx context.Context, id gestor.IdentityID) (gestor.Identity, error) {
	return one(ctx, v, identities, "identity", " AND id = ?", string(id))
}

// IdentityBySubject is the identity of somebody at a provider.
func (v *View) IdentityBySubject(ctx context.Context, p gestor.ProviderID, subject string) (gestor.Identity, error) {
	return one(ctx, v, identities, "identity", " AND provider_id = ? AND subject = ?", string(p), subject)
}

// IdentityOfUser is who a user is at a provider.
func (v *View) IdentityOfUser(ctx context.Context, p gestor.ProviderID, u gestor.UserID) (gestor.Identity, error) {
	return one(ctx, v, identities, "identity", " AND provider_id = ? AND user_id = ?", string(p), string(u))
}

var identitiesByAge = order[gestor.Identity]{by: "created_at", desc: true, key: func(i gestor.Identity) cursor {
	return cursor{Number: nanos(i.CreatedAt), ID: string(i.ID)}
}}

// Identities are those of a user, or of everybody if it is empty, the newest first.
func (v *View) Identities(ctx context.Context, user gestor.UserID, page gestor.Page) ([]gestor.Identity, string, error) {
	if user == "" {
		return list(ctx, v, identities, identitiesByAge, page, "")
	}
	return list(ctx, v, identities, identitiesByAge, page, " AND user_id = ?", string(user))
}

// IdentityCounts is how many people are linked to providers, by provider.
func (v *View) IdentityCounts(ctx context.Context) (map[gestor.ProviderID]int64, error) {
	if v.from.level() < levelPeople {
		return nil, nil
	}
	where, args := v.where(bounds{})
	rows, err := v.from.query(ctx, "SELECT provider_id, count(*)\nFROM identities\n"+where+"\nGROUP BY provider_id", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[gestor.ProviderID]int64{}
	for rows.Next() {
		var id gestor.ProviderID
		var n int64
		if err := rows.Scan(&id, &n); err != nil {
			return nil, err
		}
		out[id] = n
	}
	return out, rows.Err()
}

// PutIdentity writes an identity.
func (x *Txn) PutIdentity(ctx context.Context, i gestor.Identity) error {
	i.Revision = x.Revision
	return identities.save(ctx, x, &i)
}

// DeleteIdentity removes an identity, if it is there.
func (x *Txn) DeleteIdentity(ctx context.Context, id gestor.IdentityID) error {
	x.touch(Providers)
	return x.exec(ctx, "DELETE FROM identities WHERE id = ?", string(id))
}

// DeleteIdentitiesAt removes all identities of a provider.
func (x *Txn) DeleteIdentitiesAt(ctx context.Context, id gestor.ProviderID) error {
	x.touch(Providers)
	return x.exec(ctx, "DELETE FROM identities WHERE provider_id = ?", string(id))
}

// DeleteIdentities removes all identities of a user.
func (x *Txn) DeleteIdentities(ctx context.Context, id gestor.UserID) error {
	x.touch(Providers)
	return x.exec(ctx, "DELETE FROM identities WHERE user_id = ?", string(id))
}
