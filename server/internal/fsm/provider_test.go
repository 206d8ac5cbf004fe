package fsm

import (
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
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

// says has a provider vouch for somebody, as the servers do.
func (w *world) says(p gestor.ProviderID, subject, email, nonce string) command.AdmitIdentity {
	w.t.Helper()
	known, err := w.view().Provider(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	w.actor = gestor.Actor{Kind: "provider", ID: string(p), TenantID: known.TenantID}
	return admission(p, known.Revision, subject, email, nonce)
}

func TestProvider_IsSetUpByThoseAloneWhoHaveAllThatItCanGive(t *testing.T) {
	w := peopled(t)
	for _, id := range []gestor.UserID{"usr_devops", "usr_viewer", "usr_narrow"} {
		w.by(id).refuses(fault.KindDenied, command.CreateProvider{Provider: newProvider("prv_x", "X", "x.example")})
	}
	w.by("usr_admin").must(command.CreateProvider{Provider: newProvider("prv_1", "One", "example.com")})
	for _, id := range []gestor.UserID{"usr_devops", "usr_narrow"} {
		w.by(id).refuses(fault.KindDenied, command.UpdateProvider{Provider: newProvider("prv_1", "One", "example.com")})
		w.by(id).refuses(fault.KindDenied, command.DeleteProvider{ID: "prv_1"})
	}
	w.by("usr_other").refuses(fault.KindNotFound, command.UpdateProvider{Provider: newProvider("prv_1", "One", "example.com")})
	w.by("usr_other").refuses(fault.KindNotFound, command.DeleteProvider{ID: "prv_1"})
	w.by("usr_other").refuses(fault.KindExists, command.CreateProvider{Provider: newProvider("prv_2", "Two", "two.example", "example.com")})
	admin := newProvider("prv_3", "Three", "three.example")
	admin.Role = gestor.RoleAdmin
	w.by("usr_admin").refuses(fault.KindInvalid, command.CreateProvider{Provider: admin})
	moved := newProvider("prv_1", "One", "example.com")
	moved.Issuer, moved.SecretSealed = "https://evil.example", nil
	w.by("usr_admin").refuses(fault.KindInvalid, command.UpdateProvider{Provider: moved}) // the secret would go to another issuer
}

func TestAdmitIdentity_NeverCrossesTenants(t *testing.T) {
	w := peopled(t)
	w.by("usr_other").must(command.CreateProvider{Provider: newProvider("prv_b", "B", "example.com")})
	w.refuses(fault.KindDenied, w.says("prv_b", "s1", "admin@example.com", "n1"))
	if u := w.user("usr_admin"); u.TenantID != "ten_a" {
		t.Errorf("got %+v", u)
	}
	w.must(w.says("prv_b", "s2", "other@example.com", "n2"))
	if i, err := w.view().IdentityBySubject(t.Context(), "prv_b", "s2"); err != nil || i.UserID != "usr_other" || i.TenantID != "ten_b" {
		t.Errorf("got %+v, %v", i, err)
	}
	w.by("usr_admin").must(command.DeleteIdentity{ID: "idn_s2"}) // which is unknown there
	if _, err := w.view().Identity(t.Context(), "idn_s2"); err != nil {
		t.Errorf("another tenant removed it: %v", err)
	}
}

func TestAdmitIdentity_LetsOperatorsInOnlyByWhatAnOperatorSaved(t *testing.T) {
	w := peopled(t)
	w.add(gestor.User{ID: "usr_boss", Role: gestor.RoleAdmin, Operator: true})
	w.by("usr_admin").must(command.CreateProvider{Provider: newProvider("prv_1", "One", "example.com")})
	w.refuses(fault.KindDenied, w.says("prv_1", "s1", "boss@example.com", "n1"))
	w.must(w.says("prv_1", "s2", "admin@example.com", "n2"))
	w.by("usr_boss").must(command.UpdateProvider{Provider: newProvider("prv_1", "One", "example.com")})
	w.must(w.says("prv_1", "s1", "boss@example.com", "n3"))
	w.by("usr_admin").must(command.UpdateProvider{Provider: newProvider("prv_1", "One", "example.com")})
	w.refuses(fault.KindDenied, w.says("prv_1", "s1", "boss@example.com", "n4"))
	w.by("usr_admin").refuses(fault.KindDenied, command.DeleteIdentity{ID: "idn_s1"})
}

func TestAdmitIdentity_TakesAnAnswerOnceAndOnlyAsItWasAskedFor(t *testing.T) {
	w := peopled(t)
	w.by("usr_admin").must(command.CreateProvider{Provider: newProvider("prv_1", "One", "example.com")})
	w.must(w.says("prv_1", "s1", "viewer@example.com", "n1"))
	w.refuses(fault.KindUnauthenticated, w.says("prv_1", "s1", "viewer@example.com", "n1"))
	w.must(w.says("prv_1", "s1", "viewer@example.com", "n2"))
	late := w.says("prv_1", "s1", "viewer@example.com", "n3")
	late.Answer.Until = start.Add(-time.Second)
	w.refuses(fault.KindUnauthenticated, late)
	asked := w.says("prv_1", "s1", "viewer@example.com", "n4")
	w.by("usr_admin").must(command.UpdateProvider{Provider: newProvider("prv_1", "One", "example.com", "more.example")})
	w.refuses(fault.KindUnauthenticated, asked)
	w.refuses(fault.KindDenied, w.says("prv_1", "s1", "viewer@elsewhere.example", "n5"))
	moved := newProvider("prv_1", "One", "example.com")
	moved.Issuer = "https://new.example"
	w.by("usr_admin").must(command.UpdateProvider{Provider: moved})
	if _, err := w.view().Identity(t.Context(), "idn_s1"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("who somebody was at another issuer stays: %v", err)
	}
}

func TestAdmitIdentity_MakesNobodyInATenantThatIsSuspended(t *testing.T) {
	w := peopled(t)
	w.by("usr_other").must(command.CreateProvider{Provider: newProvider("prv_b", "B", "firm.example", "example.com")})
	w.actor = system
	w.must(command.SetTenantStatus{ID: "ten_b", Status: gestor.StatusSuspended, Reason: "unpaid"})
	if err := w.refusal(fault.KindDenied, w.says("prv_b", "s1", "new@firm.example", "n1")); err == nil || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("got %v", err)
	}
	w.must(w.says("prv_b", "s2", "other@example.com", "n2")) // who is there signs in
}

func TestDeleteUser_ForgetsWhoTheyWereAtProviders(t *testing.T) {
	w := peopled(t)
	w.by("usr_admin").must(command.CreateProvider{Provider: newProvider("prv_1", "One", "example.com")})
	w.must(w.says("prv_1", "s1", "viewer@example.com", "n1"))
	w.by("usr_admin").must(command.DeleteUser{ID: "usr_viewer"})
	if _, err := w.view().Identity(t.Context(), "idn_s1"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("got %v", err)
	}
}
