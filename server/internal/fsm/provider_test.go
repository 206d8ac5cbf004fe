package fsm

import (
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func newProvider(id gestor.ProviderID, name string, domains ...string) gestor.Provider {
	return gestor.Provider{
		ID: id, Name: name, Issuer: "https://id.example.com", ClientID: "gestor", SecretSealed: []byte("sealed"), Scopes: []string{"email"},
		Domains: domains, CreateUsers: true, Role: gestor.RoleDeveloper,
	}
}

// admission is what a provider says of somebody; revision is that of the provider.
func admission(p gestor.ProviderID, revision uint64, subject, email, nonce string) command.AdmitIdentity {
	return command.AdmitIdentity{
		Provider: p, Revision: revision, Identity: gestor.IdentityID("idn_" + subject), Subject: subject, Email: email, Name: "Somebody",
		User: gestor.UserID("usr_" + subject), Answer: gestor.Challenge{Hash: hashOf(nonce), Until: start.Add(10 * time.Minute)},
	}
}

// providerStory is the part of a life of an installation that has to do with providers; before is how many entries there were.
func providerStory(before uint64) []command.Op {
	changed := newProvider("prv_1", "Firm", "firm.example", "firm.test")
	changed.SecretSealed = nil
	return []command.Op{
		command.CreateProvider{Provider: newProvider("prv_1", "Company", "firm.example")},
		command.UpdateProvider{Provider: changed, ExpectedRevision: before + 1},
		admission("prv_1", before+2, "s1", "dora@firm.example", "n1"),
		admission("prv_1", before+2, "s1", "dora@firm.example", "n2"),
		command.DeleteIdentity{ID: "idn_s1"},
		command.CreateProvider{Provider: newProvider("prv_2", "Other", "other.example")},
		command.DeleteProvider{ID: "prv_2"},
	}
}
