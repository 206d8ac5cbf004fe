package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func invite(email string) *gestorv1.CreateInvitationRequest {
	return &gestorv1.CreateInvitationRequest{Email: email, Role: gestorv1.Role_ROLE_DEVELOPER}
}

func (p person) accept(t *testing.T, link, password string) (*gestorv1.AcceptInvitationResponse, error) {
	t.Helper()
	return p.invitations.AcceptInvitation(t.Context(), &gestorv1.AcceptInvitationRequest{Secret: secretOf(t, link), Password: password, Name: "Bia"})
}

func TestInvitation_LetsTheInvitedInOnceAndNobodyElse(t *testing.T) {
	c := newCompany(t)
	p, nobody := c.as(t, "usr_admin"), c.with(t, "")
	made, err := p.invitations.CreateInvitation(t.Context(), invite("Bia@Example.com"))
	if err != nil {
		t.Fatal(err)
	}
	i, link := made.GetInvitation(), made.GetLink().GetLink()
	if i.GetEmail() != "bia@example.com" || i.GetMailed() || i.GetInvitedBy() != "admin@example.com" || i.GetExpiresAt().AsTime().Sub(c.clock()) != 7*24*time.Hour {
		t.Errorf("got %v", i)
	}
	if c.inFiles(t, secretOf(t, link)) {
		t.Error("the secret is in the state's files")
	}
	wrong := link[:len(link)-4] + "AAAA"
	for _, bad := range []string{wrong, publicURL + "/invite#x", publicURL + "/invite#gss_x"} {
		_, err := nobody.accept(t, bad, goodPassword)
		wantKind(t, err, fault.KindUnauthenticated)
	}
	_, err = nobody.accept(t, link, "bia@example.com")
	wantKind(t, err, fault.KindInvalid)
	res, err := nobody.accept(t, link, "another horse battery")
	if err != nil || res.GetEmail() != "bia@example.com" || res.GetTenantName() != "First" {
		t.Fatalf("got %v, %v", res, err)
	}
	_, err = nobody.accept(t, link, "another horse battery")
	wantKind(t, err, fault.KindUnauthenticated)
	got, err := p.users.GetUser(t.Context(), &gestorv1.GetUserRequest{User: "bia@example.com"})
	if err != nil || got.GetUser().GetName() != "Bia" || got.GetUser().GetRole() != gestorv1.Role_ROLE_DEVELOPER || got.GetUser().GetEmailVerifiedAt() != nil {
		t.Errorf("got %v, %v", got, err)
	}
	left, err := p.invitations.ListInvitations(t.Context(), &gestorv1.ListInvitationsRequest{})
	if err != nil || len(left.GetInvitations()) != 0 {
		t.Errorf("got %v, %v", left, err)
	}
}

func TestInvitation_GivesOneAnswerToUnknownUsedAndEndedLinks(t *testing.T) {
	c := newCompany(t)
	p, nobody := c.as(t, "usr_admin"), c.with(t, "")
	short := invite("bia@example.com")
	short.Ttl = durationpb.New(time.Hour)
	ended, err := p.invitations.CreateInvitation(t.Context(), short)
	if err != nil {
		t.Fatal(err)
	}
	used, err := p.invitations.CreateInvitation(t.Context(), invite("caio@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := p.invitations.CreateInvitation(t.Context(), invite("dora@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.invitations.RevokeInvitation(t.Context(), &gestorv1.RevokeInvitationRequest{Invitation: "dora@example.com"}); err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.accept(t, used.GetLink().GetLink(), goodPassword); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	secret, _ := auth.NewInvitation()
	answers := map[string]bool{}
	for _, link := range []string{publicURL + "/invite#" + secret, ended.GetLink().GetLink(), used.GetLink().GetLink(), revoked.GetLink().GetLink()} {
		_, err := nobody.accept(t, link, goodPassword)
		wantKind(t, err, fault.KindUnauthenticated)
		answers[err.Error()] = true
	}
	if len(answers) != 1 {
		t.Errorf("got %v", answers)
	}
}

func TestInvitation_GuessersOfANetworkMustWait(t *testing.T) {
	c := newCompany(t)
	nobody := c.with(t, "")
	var last error
	for range 12 {
		secret, _ := auth.NewInvitation()
		_, last = nobody.accept(t, publicURL+"/invite#"+secret, goodPassword)
	}
	wantKind(t, last, fault.KindExhausted)
	if c.passwords.Runs() != 1 { // of the fixture
		t.Errorf("guesses cost %d runs of argon2id", c.passwords.Runs()-1)
	}
}

func TestCreateInvitation_RefusesWhatItCannotBeSentTo(t *testing.T) {
	c := newCompany(t)
	p := c.as(t, "usr_admin")
	for _, email := range []string{"x", "\"a b\"@example.com", "a@example.com\r\nBcc: b@example.com", "a\u202eb@example.com", "Ana <ana@example.com>"} {
		_, err := p.invitations.CreateInvitation(t.Context(), invite(email))
		wantKind(t, err, fault.KindInvalid)
	}
	for _, ttl := range []time.Duration{-time.Hour, time.Second, 31 * 24 * time.Hour} {
		req := invite("x@example.com")
		req.Ttl = durationpb.New(ttl)
		_, err := p.invitations.CreateInvitation(t.Context(), req)
		wantKind(t, err, fault.KindInvalid)
	}
	here, elsewhere := "", ""
	for email, told := range map[string]*string{"VIEWER@example.com": &here, "other@example.com": &elsewhere} {
		_, err := p.invitations.CreateInvitation(t.Context(), invite(email))
		wantKind(t, err, fault.KindExists)
		*told = strings.ReplaceAll(err.Error(), strings.ToLower(email), "")
	}
	if here != elsewhere {
		t.Errorf("%q and %q tell tenants apart", here, elsewhere)
	}
}

func TestCreateInvitation_RepeatedMakesAnotherLinkForTheSameInvitation(t *testing.T) {
	c := newCompany(t)
	p, nobody := c.as(t, "usr_admin"), c.with(t, "")
	req := invite("bia@example.com")
	req.RequestId = "r1"
	lost, err := p.invitations.CreateInvitation(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.invitations.CreateInvitation(t.Context(), req)
	if err != nil || again.GetInvitation().GetId() != lost.GetInvitation().GetId() {
		t.Fatalf("got %v, %v", again, err)
	}
	_, err = nobody.accept(t, lost.GetLink().GetLink(), goodPassword)
	wantKind(t, err, fault.KindUnauthenticated)
	if _, err := nobody.accept(t, again.GetLink().GetLink(), goodPassword); err != nil {
		t.Error(err)
	}
}

func TestCreateInvitation_SendsTheLinkToTheInvitedAlone(t *testing.T) {
	c := newCompany(t)
	p, nobody := c.as(t, "usr_admin"), c.with(t, "")
	c.mail.configured = true
	res, err := p.invitations.CreateInvitation(t.Context(), invite("bia@example.com"))
	if err != nil || res.GetLink().GetLink() != "" || !res.GetInvitation().GetMailed() {
		t.Fatalf("got %v, %v", res, err)
	}
	m := c.mail.next(t)
	if m.To != "bia@example.com" || !strings.Contains(m.Text, "admin@example.com invites you to First") {
		t.Errorf("got %+v", m)
	}
	if _, err := nobody.accept(t, linkIn(t, m.Text), goodPassword); err != nil {
		t.Fatal(err)
	}
	got, err := p.users.GetUser(t.Context(), &gestorv1.GetUserRequest{User: "bia@example.com"})
	if err != nil || got.GetUser().GetEmailVerifiedAt() == nil {
		t.Errorf("the address is not verified: %v, %v", got, err)
	}
}

func TestCreateInvitation_ShowsAnotherLinkIfTheMailCannotBeSent(t *testing.T) {
	c := newCompany(t)
	p, nobody := c.as(t, "usr_admin"), c.with(t, "")
	c.mail.configured, c.mail.away = true, fault.Unavailable("the mail server is away")
	res, err := p.invitations.CreateInvitation(t.Context(), invite("bia@example.com"))
	if err != nil || res.GetInvitation().GetMailed() || !strings.Contains(res.GetLink().GetNotice(), "away") {
		t.Fatalf("got %v, %v", res, err)
	}
	if _, err := nobody.accept(t, res.GetLink().GetLink(), goodPassword); err != nil {
		t.Fatal(err)
	}
	got, err := p.users.GetUser(t.Context(), &gestorv1.GetUserRequest{User: "bia@example.com"})
	if err != nil || got.GetUser().GetEmailVerifiedAt() != nil {
		t.Errorf("a link that the inviter saw proved the address: %v, %v", got, err)
	}
}

func TestInvitations_OfAnotherTenantAreUnknown(t *testing.T) {
	c := newCompany(t)
	made, err := c.as(t, "usr_admin").invitations.CreateInvitation(t.Context(), invite("bia@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	other := c.as(t, "usr_other")
	for _, ref := range []string{made.GetInvitation().GetId(), "bia@example.com"} {
		_, err = other.invitations.RevokeInvitation(t.Context(), &gestorv1.RevokeInvitationRequest{Invitation: ref})
		wantKind(t, err, fault.KindNotFound)
		_, err = other.invitations.ResendInvitation(t.Context(), &gestorv1.ResendInvitationRequest{Invitation: ref})
		wantKind(t, err, fault.KindNotFound)
	}
	list, err := other.invitations.ListInvitations(t.Context(), &gestorv1.ListInvitationsRequest{})
	if err != nil || len(list.GetInvitations()) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestResendInvitation_MakesTheLinkBeforeWorthless(t *testing.T) {
	c := newCompany(t)
	p, nobody := c.as(t, "usr_admin"), c.with(t, "")
	made, err := p.invitations.CreateInvitation(t.Context(), invite("bia@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.invitations.ResendInvitation(t.Context(), &gestorv1.ResendInvitationRequest{Invitation: "bia@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = nobody.accept(t, made.GetLink().GetLink(), goodPassword)
	wantKind(t, err, fault.KindUnauthenticated)
	if _, err := nobody.accept(t, again.GetLink().GetLink(), goodPassword); err != nil {
		t.Error(err)
	}
}

func TestInviteAdministrator_IsForOperatorsAndTenantsWithoutOne(t *testing.T) {
	c := newCompany(t)
	c.put(t, func(ctx context.Context, x *state.Txn) error {
		return x.PutTenant(ctx, gestor.Tenant{ID: "ten_new", Name: "New", Plan: "free", Status: gestor.StatusActive})
	})
	req := func(tenant string) *gestorv1.InviteAdministratorRequest {
		return &gestorv1.InviteAdministratorRequest{TenantId: tenant, Email: "founder@example.com"}
	}
	_, err := c.as(t, "usr_admin").invitations.InviteAdministrator(t.Context(), req("ten_new"))
	wantKind(t, err, fault.KindDenied)
	operator := c.as(t, "usr_first")
	_, err = operator.invitations.InviteAdministrator(t.Context(), req("ten_other"))
	wantKind(t, err, fault.KindConflict)
	_, err = operator.invitations.InviteAdministrator(t.Context(), req("ten_none"))
	wantKind(t, err, fault.KindNotFound)
	res, err := operator.invitations.InviteAdministrator(t.Context(), req("ten_new"))
	if err != nil || res.GetInvitation().GetRole() != gestorv1.Role_ROLE_ADMIN || res.GetInvitation().GetOperator() {
		t.Fatalf("got %v, %v", res, err)
	}
	accepted, err := c.with(t, "").accept(t, res.GetLink().GetLink(), goodPassword)
	if err != nil || accepted.GetTenantName() != "New" {
		t.Errorf("got %v, %v", accepted, err)
	}
}
