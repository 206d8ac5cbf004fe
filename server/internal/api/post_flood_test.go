package api_test

import (
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// The mail server is the operator's, and so is its name: nobody of a tenant floods strangers through it.
func TestMail_OfATenantToAddressesThatItNamesIsBounded(t *testing.T) {
	const most = 60
	c := newCompany(t)
	c.mail.configured, c.mail.unread = true, true
	admin := c.as(t, "usr_admin")
	if _, err := admin.invitations.CreateInvitation(t.Context(), invite("victim@example.org")); err != nil {
		t.Fatal(err)
	}
	resend := func(p person, show bool) error {
		_, err := p.invitations.ResendInvitation(t.Context(), &gestorv1.ResendInvitationRequest{Invitation: "victim@example.org", ShowLink: show})
		return err
	}
	reset := func() error {
		_, err := admin.users.ResetPassword(t.Context(), &gestorv1.ResetPasswordRequest{User: "viewer@example.com"})
		return err
	}
	for name, again := range map[string]func() error{"invitations": func() error { return resend(admin, false) }, "resets": reset} {
		var err error
		for n := 0; err == nil && n < most; n++ {
			err = again()
		}
		if fault.KindOf(err) != fault.KindExhausted {
			t.Errorf("%d messages of %s were sent: %v", most, name, err)
		}
	}
	if err := resend(admin, true); err != nil {
		t.Errorf("a link that is shown: %v", err)
	}
	if _, err := c.as(t, "usr_other").invitations.CreateInvitation(t.Context(), invite("friend@example.org")); err != nil {
		t.Errorf("another tenant: %v", err)
	}
}
