package api_test

import (
	"errors"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// strangersAsk are addresses that differ in what the installation knows of them, by what they are.
func strangersAsk() map[string]string {
	return map[string]string{"known": "viewer@example.com", "of another tenant": "other@example.com", "unknown": "nobody@example.com", "nonsense": "no address"}
}

// What takes the time of a sign-in is argon2id: it runs once, whoever has the address. How long calls take is measured by
// BenchmarkStrangers.
func TestSignIn_WorksAsMuchForNobodyAsForSomebody(t *testing.T) {
	c := newCompany(t)
	answers := map[string]bool{}
	for who, email := range strangersAsk() {
		runs, written := c.passwords.Runs(), c.applied.Load()
		_, err := c.with(t, "").sessions.CreateSession(t.Context(), &gestorv1.CreateSessionRequest{Email: email, Password: "wrong horse battery"})
		if !errors.Is(err, fault.KindUnauthenticated) {
			t.Fatalf("%s: got %v", who, err)
		}
		answers[err.Error()] = true
		if got := c.passwords.Runs() - runs; got != 1 || c.applied.Load() != written {
			t.Errorf("%s: %d runs of argon2id, %d writes", who, got, c.applied.Load()-written)
		}
	}
	if len(answers) != 1 {
		t.Errorf("the answers tell who has an address: %v", answers)
	}
}

// BenchmarkStrangers compares what sign-in and the request of a new password take for addresses that somebody has and that
// nobody has. The times of one call are to be the same for all.
func BenchmarkStrangers(b *testing.B) {
	c := newCompany(b)
	c.mail.configured, c.mail.unread = true, true
	nobody := c.with(b, "")
	for who, email := range strangersAsk() {
		b.Run("sign in/"+who, func(b *testing.B) {
			for b.Loop() {
				c.advance(1 << 40) // past all waits
				if _, err := nobody.sessions.CreateSession(b.Context(), &gestorv1.CreateSessionRequest{Email: email, Password: "wrong horse battery"}); !errors.Is(err, fault.KindUnauthenticated) {
					b.Fatal(err)
				}
			}
		})
		b.Run("reset/"+who, func(b *testing.B) {
			for b.Loop() {
				c.advance(1 << 40)
				if _, err := nobody.account.RequestPasswordReset(b.Context(), &gestorv1.RequestPasswordResetRequest{Email: email}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
