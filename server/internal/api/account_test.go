package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestAccount_ShowsAndNamesOneself(t *testing.T) {
	c := newCompany(t)
	p := c.as(t, "usr_viewer")
	res, err := p.account.UpdateAccount(t.Context(), &gestorv1.UpdateAccountRequest{Name: "Vera"})
	if err != nil || res.GetUser().GetName() != "Vera" {
		t.Fatalf("got %v, %v", res, err)
	}
	_, err = p.account.UpdateAccount(t.Context(), &gestorv1.UpdateAccountRequest{Name: "Ve\x1b[31mra"})
	wantKind(t, err, fault.KindInvalid)
	got, err := p.account.GetAccount(t.Context(), &gestorv1.GetAccountRequest{})
	if err != nil || got.GetUser().GetEmail() != "viewer@example.com" || got.GetUser().GetName() != "Vera" || got.GetMailConfigured() {
		t.Errorf("got %v, %v", got, err)
	}
	if res, err = p.account.UpdateAccount(t.Context(), &gestorv1.UpdateAccountRequest{}); err != nil || res.GetUser().GetName() != "" {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestChangePassword_EndsAllOtherSessions(t *testing.T) {
	c := newCompany(t)
	here, there := c.as(t, "usr_viewer"), c.as(t, "usr_viewer")
	change := func(old, next string) error {
		_, err := here.account.ChangePassword(t.Context(), &gestorv1.ChangePasswordRequest{OldPassword: old, NewPassword: next})
		return err
	}
	wantKind(t, change("wrong horse battery", "a new horse battery"), fault.KindInvalid)
	wantKind(t, change(goodPassword, goodPassword), fault.KindInvalid)
	wantKind(t, change(goodPassword, "1234567890"), fault.KindInvalid)
	if isOut(t, there) {
		t.Error("a refused change signed somebody out")
	}
	if err := change(goodPassword, "a new horse battery"); err != nil {
		t.Fatal(err)
	}
	if isOut(t, here) || !isOut(t, there) || !c.knows(t, "usr_viewer", "a new horse battery") {
		t.Error("not just the other session ended")
	}
}

func TestChangePassword_SlowsDownWhoGuessesThePresentOne(t *testing.T) {
	c := newCompany(t)
	p := c.as(t, "usr_viewer")
	var last error
	for range 8 {
		_, last = p.account.ChangePassword(t.Context(), &gestorv1.ChangePasswordRequest{OldPassword: "wrong", NewPassword: "a new horse battery"})
	}
	wantKind(t, last, fault.KindExhausted)
}

// asked is what a stranger is answered who asks for a new password for an address, and what it cost.
func (c *company) asked(t *testing.T, email string) (answer string, runs, revision uint64) {
	t.Helper()
	runs, revision = c.passwords.Runs(), c.applied.Load()
	res, err := c.with(t, "").account.RequestPasswordReset(t.Context(), &gestorv1.RequestPasswordResetRequest{Email: email})
	if err != nil {
		t.Fatal(err)
	}
	return res.String(), c.passwords.Runs() - runs, c.applied.Load() - revision
}

func TestRequestPasswordReset_AnswersAndWorksAlikeForEverybody(t *testing.T) {
	c := newCompany(t)
	c.mail.configured = true
	c.put(t, func(ctx context.Context, x *state.Txn) error {
		u, err := x.User(ctx, "usr_devops")
		if err != nil {
			return err
		}
		u.Status = gestor.StatusBlocked
		return x.PutUser(ctx, u)
	})
	for _, email := range []string{"nobody@example.com", "devops@example.com", "no address at all", "viewer@example.com"} {
		if answer, runs, writes := c.asked(t, email); answer != "" || runs != 0 || writes != 0 {
			t.Errorf("%s: %q after %d runs of argon2id and %d writes", email, answer, runs, writes)
		}
	}
	if m := c.mail.next(t); m.To != "viewer@example.com" { // errands are done in order: nobody before got any
		t.Errorf("sent to %s", m.To)
	}
	c.mail.configured = false
	c.asked(t, "admin@example.com")
}

func TestRequestPasswordReset_IsBoundedByAddress(t *testing.T) {
	c := newCompany(t)
	var last error
	for range 8 {
		_, last = c.with(t, "").account.RequestPasswordReset(t.Context(), &gestorv1.RequestPasswordResetRequest{Email: "Nobody@example.com"})
	}
	wantKind(t, last, fault.KindExhausted)
	c.asked(t, "viewer@example.com") // others are not in its way
}

func TestPasswordReset_ByMailWorksOnceWithinAnHour(t *testing.T) {
	c := newCompany(t)
	c.mail.configured = true
	nobody, viewer := c.with(t, ""), c.as(t, "usr_viewer")
	c.asked(t, "Viewer@Example.com")
	link := linkIn(t, c.mail.next(t).Text)
	c.asked(t, "viewer@example.com")
	second := linkIn(t, c.mail.next(t).Text)
	confirm := func(secret, password string) error {
		_, err := nobody.account.ConfirmPasswordReset(t.Context(), &gestorv1.ConfirmPasswordResetRequest{Secret: secret, Password: password})
		return err
	}
	wantKind(t, confirm(secretOf(t, link), "short"), fault.KindInvalid)
	wantKind(t, confirm("x"+secretOf(t, link), "a new horse battery"), fault.KindUnauthenticated)
	if err := confirm(secretOf(t, link), "a new horse battery"); err != nil {
		t.Fatal(err)
	}
	if told := c.mail.next(t); !strings.Contains(told.Text, "was changed") {
		t.Errorf("got %q", told.Text)
	}
	if !isOut(t, viewer) || !c.knows(t, "usr_viewer", "a new horse battery") || c.user(t, "usr_viewer").EmailVerifiedAt.IsZero() {
		t.Error("the password is not the new one, a session goes on, or the address is not proven")
	}
	wantKind(t, confirm(secretOf(t, link), "another horse battery"), fault.KindUnauthenticated)
	wantKind(t, confirm(secretOf(t, second), "another horse battery"), fault.KindUnauthenticated)
	c.asked(t, "viewer@example.com")
	late := linkIn(t, c.mail.next(t).Text)
	c.advance(time.Hour)
	wantKind(t, confirm(secretOf(t, late), "another horse battery"), fault.KindUnauthenticated)
}

func TestLinks_AreGoodForWhatTheyWereMadeForAlone(t *testing.T) {
	c := newCompany(t)
	c.mail.configured = true
	nobody := c.with(t, "")
	if _, err := c.as(t, "usr_viewer").account.RequestEmailVerification(t.Context(), &gestorv1.RequestEmailVerificationRequest{}); err != nil {
		t.Fatal(err)
	}
	verify := secretOf(t, linkIn(t, c.mail.next(t).Text))
	c.asked(t, "viewer@example.com")
	reset := secretOf(t, linkIn(t, c.mail.next(t).Text))
	_, err := nobody.account.ConfirmPasswordReset(t.Context(), &gestorv1.ConfirmPasswordResetRequest{Secret: verify, Password: "a new horse battery"})
	wantKind(t, err, fault.KindUnauthenticated)
	_, err = nobody.account.ConfirmEmail(t.Context(), &gestorv1.ConfirmEmailRequest{Secret: reset})
	wantKind(t, err, fault.KindUnauthenticated)
	res, err := nobody.account.ConfirmEmail(t.Context(), &gestorv1.ConfirmEmailRequest{Secret: verify})
	if err != nil || res.GetEmail() != "viewer@example.com" || c.user(t, "usr_viewer").EmailVerifiedAt.IsZero() {
		t.Errorf("got %v, %v", res, err)
	}
	_, err = c.as(t, "usr_viewer").account.RequestEmailVerification(t.Context(), &gestorv1.RequestEmailVerificationRequest{})
	wantKind(t, err, fault.KindConflict)
}

func TestRequestEmailVerification_SaysThatNoMailIsSent(t *testing.T) {
	c := newCompany(t)
	_, err := c.as(t, "usr_viewer").account.RequestEmailVerification(t.Context(), &gestorv1.RequestEmailVerificationRequest{})
	wantKind(t, err, fault.KindConflict)
	_, err = c.as(t, "usr_viewer").account.RequestEmailChange(t.Context(), &gestorv1.RequestEmailChangeRequest{Email: "new@example.com"})
	wantKind(t, err, fault.KindConflict)
}

func TestRequestEmailChange_NeedsTheNewMailboxAndTellsTheOldOne(t *testing.T) {
	c := newCompany(t)
	c.mail.configured = true
	p, nobody := c.as(t, "usr_viewer"), c.with(t, "")
	ask := func(email string) (*gestorv1.RequestEmailChangeResponse, error) {
		return p.account.RequestEmailChange(t.Context(), &gestorv1.RequestEmailChangeRequest{Email: email})
	}
	_, err := ask("viewer@example.com")
	wantKind(t, err, fault.KindInvalid)
	_, err = ask("not an address")
	wantKind(t, err, fault.KindInvalid)
	taken, err := ask("other@example.com") // somebody of another tenant: the answer does not tell
	if err != nil {
		t.Fatal(err)
	}
	free, err := ask("New@Example.com")
	if err != nil || free.GetEmail() != "new@example.com" || !free.GetExpiresAt().AsTime().Equal(taken.GetExpiresAt().AsTime()) {
		t.Fatalf("got %v, %v", free, err)
	}
	m := c.mail.next(t)
	if m.To != "new@example.com" || c.user(t, "usr_viewer").Email != "viewer@example.com" {
		t.Errorf("sent to %s, the address is %s", m.To, c.user(t, "usr_viewer").Email)
	}
	if _, err := nobody.account.ConfirmEmail(t.Context(), &gestorv1.ConfirmEmailRequest{Secret: secretOf(t, linkIn(t, m.Text))}); err != nil {
		t.Fatal(err)
	}
	if u := c.user(t, "usr_viewer"); u.Email != "new@example.com" || u.EmailVerifiedAt.IsZero() {
		t.Errorf("got %+v", u)
	}
	if told := c.mail.next(t); told.To != "viewer@example.com" || !strings.Contains(told.Text, "to new@example.com") {
		t.Errorf("got %+v", told)
	}
}
