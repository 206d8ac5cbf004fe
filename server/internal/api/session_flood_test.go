package api_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// Whoever waits for a password to be checked holds one of the places of calls that change something.
func TestSignIn_StrangersDoNotQueueForPasswordsWithoutEnd(t *testing.T) {
	e := newDoor(t)
	e.serve(auth.NewPasswords(0)) // which never gets to any
	ctx, cancel := context.WithCancel(t.Context())
	const all = 100
	answers := make(chan error, all)
	for i := range all {
		g, email := e.guest(""), fmt.Sprintf("nobody%d@example.com", i)
		go func() {
			_, err := g.sessions.CreateSession(ctx, &gestorv1.CreateSessionRequest{Email: email, Password: "wrong"})
			answers <- err
		}()
	}
	const waiting = 16
	late := time.After(20 * time.Second)
	for i := range all - waiting {
		select {
		case err := <-answers:
			if fault.KindOf(err) != fault.KindExhausted {
				t.Errorf("got %v", err)
			}
		case <-late:
			t.Fatalf("%d of %d wait, and hold their places", all-i, all)
		}
	}
	cancel()
	for range waiting {
		<-answers
	}
}
