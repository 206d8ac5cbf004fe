package api_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestListUsers_ShowsTheOwnTenantByAddressAndNoHash(t *testing.T) {
	c := newCompany(t)
	res, err := c.as(t, "usr_devops").users.ListUsers(t.Context(), &gestorv1.ListUsersRequest{Page: &gestorv1.PageRequest{Size: 3}})
	if err != nil {
		t.Fatal(err)
	}
	var emails []string
	for _, u := range res.GetUsers() {
		emails = append(emails, u.GetEmail())
	}
	if !slices.Equal(emails, []string{"admin@example.com", "boss@example.com", "devops@example.com"}) || res.GetPage().GetNextToken() == "" {
		t.Errorf("got %v, next %q", emails, res.GetPage().GetNextToken())
	}
	if strings.Contains(res.String(), "argon2") {
		t.Error("the answer holds a hash")
	}
	_, err = c.as(t, "usr_viewer").users.ListUsers(t.Context(), &gestorv1.ListUsersRequest{})
	wantKind(t, err, fault.KindDenied)
}

func TestUsers_OfAnotherTenantAreUnknown(t *testing.T) {
	c := newCompany(t)
	p := c.as(t, "usr_first") // also an operator, who manages tenants but not the people in them
	for _, ref := range []string{"usr_other", "other@example.com", "usr_none"} {
		_, err := p.users.GetUser(t.Context(), &gestorv1.GetUserRequest{User: ref})
		wantKind(t, err, fault.KindNotFound)
		_, err = p.users.UpdateUser(t.Context(), &gestorv1.UpdateUserRequest{User: ref, Role: gestorv1.Role_ROLE_VIEWER.Enum()})
		wantKind(t, err, fault.KindNotFound)
		_, err = p.users.DeleteUser(t.Context(), &gestorv1.DeleteUserRequest{User: ref})
		wantKind(t, err, fault.KindNotFound)
		_, err = p.users.ResetPassword(t.Context(), &gestorv1.ResetPasswordRequest{User: ref})
		wantKind(t, err, fault.KindNotFound)
	}
}

func TestUpdateUser_ChangesWhatIsGivenAndNothingElse(t *testing.T) {
	c := newCompany(t)
	p := c.as(t, "usr_first")
	name := "  Jose\u0301 da Silva "
	res, err := p.users.UpdateUser(t.Context(), &gestorv1.UpdateUserRequest{
		User: "Viewer@Example.com", Role: gestorv1.Role_ROLE_DEVELOPER.Enum(), Name: &name,
		Narrow: &gestorv1.Narrowing{Environments: []gestorv1.Environment{gestorv1.Environment_ENVIRONMENT_STAGING}},
	})
	if err != nil {
		t.Fatal(err)
	}
	u := res.GetUser()
	if u.GetRole() != gestorv1.Role_ROLE_DEVELOPER || u.GetName() != "José da Silva" || len(u.GetNarrow().GetEnvironments()) != 1 || u.GetOperator() ||
		u.GetStatus() != gestorv1.UserStatus_USER_STATUS_ACTIVE {
		t.Errorf("got %v", u)
	}
	res, err = p.users.UpdateUser(t.Context(), &gestorv1.UpdateUserRequest{User: u.GetId(), Narrow: &gestorv1.Narrowing{}})
	if err != nil || res.GetUser().GetNarrow() != nil || res.GetUser().GetRole() != gestorv1.Role_ROLE_DEVELOPER {
		t.Errorf("got %v, %v", res, err)
	}
	for field, bad := range map[string]*gestorv1.UpdateUserRequest{
		"name":           {User: u.GetId(), Name: new("abc\u202egnp.exe")},
		"narrow.apps[0]": {User: u.GetId(), Narrow: &gestorv1.Narrowing{Apps: []string{"nothing"}}},
		"role":           {User: u.GetId(), Role: gestorv1.Role(99).Enum()},
	} {
		_, err := p.users.UpdateUser(t.Context(), bad)
		if wantKind(t, err, fault.KindInvalid); err != nil && !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestUpdateUser_SignsOutAtOnceWhoIsBlocked(t *testing.T) {
	c := newCompany(t)
	viewer := c.as(t, "usr_viewer")
	token, hash := auth.NewToken(gestor.TokenPersonal)
	c.put(t, func(ctx context.Context, x *state.Txn) error {
		return x.PutToken(ctx, gestor.Token{ID: "tkn_1", TenantID: "ten_first", Kind: gestor.TokenPersonal, UserID: "usr_viewer", Hash: hash})
	})
	machine := c.with(t, token)
	if isOut(t, viewer) || isOut(t, machine) {
		t.Fatal("nobody was blocked yet")
	}
	p := c.as(t, "usr_admin")
	if _, err := p.users.UpdateUser(t.Context(), &gestorv1.UpdateUserRequest{User: "usr_viewer", Status: gestorv1.UserStatus_USER_STATUS_BLOCKED.Enum()}); err != nil {
		t.Fatal(err)
	}
	if !isOut(t, viewer) || !isOut(t, machine) {
		t.Error("who is blocked is still in")
	}
}

func TestUserManagement_NeedsARecentProofOfIdentity(t *testing.T) {
	c := newCompany(t)
	p := c.as(t, "usr_admin")
	c.advance(auth.FreshFor + time.Second)
	for name, call := range map[string]func() error{
		"UpdateUser": func() error {
			_, err := p.users.UpdateUser(t.Context(), &gestorv1.UpdateUserRequest{User: "usr_viewer", Role: gestorv1.Role_ROLE_VIEWER.Enum()})
			return err
		},
		"DeleteUser": func() error {
			_, err := p.users.DeleteUser(t.Context(), &gestorv1.DeleteUserRequest{User: "usr_viewer"})
			return err
		},
		"ResetPassword": func() error {
			_, err := p.users.ResetPassword(t.Context(), &gestorv1.ResetPasswordRequest{User: "usr_viewer"})
			return err
		},
		"CreateInvitation": func() error {
			_, err := p.invitations.CreateInvitation(t.Context(), &gestorv1.CreateInvitationRequest{Email: "x@example.com", Role: gestorv1.Role_ROLE_VIEWER})
			return err
		},
	} {
		if err := call(); fault.KindOf(err) != fault.KindDenied || !strings.Contains(err.Error(), "prove") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUpdateUser_ByATokenGivesNoPermissionThatTheTokenIsNotFor(t *testing.T) {
	c := newCompany(t)
	secret, hash := auth.NewToken(gestor.TokenService)
	c.put(t, func(ctx context.Context, x *state.Txn) error {
		return x.PutToken(ctx, gestor.Token{
			ID: "tkn_1", TenantID: "ten_first", Kind: gestor.TokenService, Role: gestor.RoleAdmin, Hash: hash, Name: "hr",
			Permissions: []string{"USER_MANAGE", "MEMBER", "TENANT_READ", "APP_READ", "NODE_READ", "EVENT_READ"},
		})
	})
	p := c.with(t, secret)
	_, err := p.users.UpdateUser(t.Context(), &gestorv1.UpdateUserRequest{User: "usr_viewer", Role: gestorv1.Role_ROLE_DEVELOPER.Enum()})
	wantKind(t, err, fault.KindDenied)
	_, err = p.invitations.CreateInvitation(t.Context(), &gestorv1.CreateInvitationRequest{Email: "x@example.com", Role: gestorv1.Role_ROLE_ADMIN})
	wantKind(t, err, fault.KindDenied)
	if _, err := p.users.UpdateUser(t.Context(), &gestorv1.UpdateUserRequest{User: "usr_devops", Role: gestorv1.Role_ROLE_VIEWER.Enum()}); err != nil {
		t.Errorf("the role it is for: %v", err)
	}
	_, err = p.account.GetAccount(t.Context(), &gestorv1.GetAccountRequest{})
	wantKind(t, err, fault.KindDenied)
}

func TestDeleteUser_RemovesThePersonAndKeepsTheLastAdministrator(t *testing.T) {
	c := newCompany(t)
	viewer := c.as(t, "usr_viewer")
	p := c.as(t, "usr_first")
	if _, err := p.users.DeleteUser(t.Context(), &gestorv1.DeleteUserRequest{User: "viewer@example.com", RequestId: "r1"}); err != nil {
		t.Fatal(err)
	}
	if !isOut(t, viewer) {
		t.Error("who was removed is still in")
	}
	if _, err := p.users.DeleteUser(t.Context(), &gestorv1.DeleteUserRequest{User: "usr_admin"}); err != nil {
		t.Fatal(err)
	}
	_, err := p.users.DeleteUser(t.Context(), &gestorv1.DeleteUserRequest{User: "usr_first"})
	wantKind(t, err, fault.KindConflict)
}

func TestResetPassword_ShowsALinkThatWorksOnceAndEndsAllSessions(t *testing.T) {
	c := newCompany(t)
	viewer, p, nobody := c.as(t, "usr_viewer"), c.as(t, "usr_admin"), c.with(t, "")
	first, err := p.users.ResetPassword(t.Context(), &gestorv1.ResetPasswordRequest{User: "viewer@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	c.advance(time.Second)
	res, err := p.users.ResetPassword(t.Context(), &gestorv1.ResetPasswordRequest{User: "viewer@example.com"})
	if err != nil || res.GetMailed() {
		t.Fatalf("got %v, %v", res, err)
	}
	if isOut(t, viewer) || !c.knows(t, "usr_viewer", goodPassword) {
		t.Error("the link alone changed something")
	}
	confirm := func(link, password string) error {
		_, err := nobody.account.ConfirmPasswordReset(t.Context(), &gestorv1.ConfirmPasswordResetRequest{Secret: secretOf(t, link), Password: password})
		return err
	}
	wantKind(t, confirm(first.GetLink(), "a new horse battery"), fault.KindUnauthenticated)
	wantKind(t, confirm(res.GetLink(), "password123"), fault.KindInvalid)
	if err := confirm(res.GetLink(), "a new horse battery"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, confirm(res.GetLink(), "another horse battery"), fault.KindUnauthenticated)
	if !isOut(t, viewer) || !c.knows(t, "usr_viewer", "a new horse battery") {
		t.Error("the password is not the new one, or a session goes on")
	}
	if !c.user(t, "usr_viewer").EmailVerifiedAt.IsZero() {
		t.Error("a link that an administrator saw proved the address")
	}
	if c.inFiles(t, "a new horse battery") || c.inFiles(t, secretOf(t, res.GetLink())) {
		t.Error("a secret is in the state's files")
	}
}

func TestResetPassword_EndsAfterADayAndReachesNobodyWhoMayDoMore(t *testing.T) {
	c := newCompany(t)
	p := c.as(t, "usr_admin")
	res, err := p.users.ResetPassword(t.Context(), &gestorv1.ResetPasswordRequest{User: "usr_viewer"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.users.ResetPassword(t.Context(), &gestorv1.ResetPasswordRequest{User: "usr_first"}) // an operator
	wantKind(t, err, fault.KindDenied)
	c.advance(24 * time.Hour)
	_, err = c.with(t, "").account.ConfirmPasswordReset(t.Context(), &gestorv1.ConfirmPasswordResetRequest{Secret: secretOf(t, res.GetLink()), Password: "a new horse battery"})
	wantKind(t, err, fault.KindUnauthenticated)
}

func TestResetPassword_SendsTheLinkIfItCanAndSaysWhyIfNot(t *testing.T) {
	c := newCompany(t)
	p := c.as(t, "usr_admin")
	c.mail.configured = true
	res, err := p.users.ResetPassword(t.Context(), &gestorv1.ResetPasswordRequest{User: "usr_viewer"})
	if err != nil || !res.GetMailed() || res.GetLink() != "" {
		t.Fatalf("got %v, %v", res, err)
	}
	m := c.mail.next(t)
	link := linkIn(t, m.Text)
	if m.To != "viewer@example.com" {
		t.Errorf("sent to %s", m.To)
	}
	nobody := c.with(t, "")
	if _, err := nobody.account.ConfirmPasswordReset(t.Context(), &gestorv1.ConfirmPasswordResetRequest{Secret: secretOf(t, link), Password: "a new horse battery"}); err != nil {
		t.Fatal(err)
	}
	if c.user(t, "usr_viewer").EmailVerifiedAt.IsZero() {
		t.Error("reading the mailbox did not prove the address")
	}
	c.mail.next(t) // that the password was changed
	c.mail.away = fault.Unavailable("the mail server is away")
	res, err = p.users.ResetPassword(t.Context(), &gestorv1.ResetPasswordRequest{User: "usr_viewer"})
	if err != nil || res.GetMailed() || res.GetLink() == "" || !strings.Contains(res.GetNotice(), "the mail server is away") {
		t.Errorf("got %v, %v", res, err)
	}
}
