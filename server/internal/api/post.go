package api

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/limit"
	"github.com/saas-gestor/gestor/server/internal/mail"
)

// mailTimeout is how long a caller waits for a mail server.
const mailTimeout = 15 * time.Second

// How many messages a tenant's people may have sent to addresses they name, at once and after that.
const (
	mailsAtOnce    = 50
	mailsPerSecond = 0.1
)

// posting bounds, by tenant, what is sent to addresses that people name.
func posting(now func() time.Time) *limit.Rates {
	return limit.NewRates(limit.RatesOptions{PerSecond: mailsPerSecond, Burst: mailsAtOnce, Now: now})
}

// mayPost takes one message of a tenant's allowance.
func mayPost(mails *limit.Rates, tenant gestor.TenantID) error {
	if wait := mails.Take(string(tenant)); wait > 0 {
		return tooMuchMail(wait)
	}
	return nil
}

// send hands a message to the mail server while the caller waits.
func send(ctx context.Context, s mail.Sender, m mail.Message) error {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	return s.Send(ctx, m)
}

const ignoreMail = "\n\nIf you did not expect this, you need not do anything: without the link nothing happens.\n"

func invitationMail(i gestor.Invitation, tenant, link string) mail.Message {
	return mail.Message{
		To: i.Email, Subject: mail.Subject("You are invited to %s", tenant), Key: string(i.ID) + "-" + strconv.FormatInt(i.ExpiresAt.Unix(), 10),
		Text: fmt.Sprintf("%s invites you to %s on Gestor, as %s.\n\nOpen this link to choose a password, until %s:\n\n  %s\n\nor in a terminal:\n\n  gestor accept '%s'\n\nThe link is for you alone and works once.%s",
			i.Inviter, tenant, i.Role, until(i.ExpiresAt), link, link, ignoreMail),
	}
}

func resetMail(u gestor.User, link string, ends time.Time) mail.Message {
	return mail.Message{
		To: u.Email, Subject: "Choose a new password",
		Text: fmt.Sprintf("Somebody asked for a new password for your account on Gestor.\n\nOpen this link to choose one, until %s:\n\n  %s\n\nor in a terminal:\n\n  gestor accept '%s'\n\nThe link works once, and signs you out everywhere.%s",
			until(ends), link, link, ignoreMail),
	}
}

func verificationMail(to, link string, ends time.Time) mail.Message {
	return mail.Message{
		To: to, Subject: "Confirm your address",
		Text: fmt.Sprintf("Open this link to confirm that %s is the address of your account on Gestor, until %s:\n\n  %s\n\nor in a terminal:\n\n  gestor accept '%s'%s",
			to, until(ends), link, link, ignoreMail),
	}
}

func passwordChangedMail(u gestor.User, at time.Time) mail.Message {
	return mail.Message{
		To: u.Email, Subject: "Your password was changed",
		Text: fmt.Sprintf("The password of your account on Gestor was changed at %s. If that was not you, tell an administrator at once.\n", until(at)),
	}
}

func emailChangedMail(before gestor.User, now string, at time.Time) mail.Message {
	return mail.Message{
		To: before.Email, Subject: "The address of your account was changed",
		Text: fmt.Sprintf("The address of your account on Gestor was changed from %s to %s at %s. If that was not you, tell an administrator at once.\n",
			before.Email, now, until(at)),
	}
}

func until(t time.Time) string { return t.UTC().Format("2 January 2006 15:04 UTC") }
