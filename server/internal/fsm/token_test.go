package fsm

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func ofToken(id, name string, change func(*gestor.Token)) command.CreateToken {
	t := gestor.Token{
		ID: gestor.TokenID(id), Kind: gestor.TokenPersonal, Name: name, Hash: hashOf(id), ExpiresAt: start.Add(time.Hour),
	}
	if change != nil {
		change(&t)
	}
	return command.CreateToken{Token: t}
}

func TestCreateToken_BelongsToWhoAskedWhateverTheCommandSays(t *testing.T) {
	w := newWorld(t)
	w.must(ofToken("tkn_1", "ci", func(t *gestor.Token) { t.UserID, t.TenantID = "usr_other", "ten_other" }))
	got, err := w.store.View(gestor.TenantScope("ten_a")).Token(t.Context(), "tkn_1")
	if err != nil || got.UserID != "usr_a" || got.TenantID != "ten_a" {
		t.Fatalf("got %+v, %v", got, err)
	}
	w.refuses(fault.KindExists, ofToken("tkn_2", "ci", nil))
	w.must(ofToken("tkn_3", "ci", func(t *gestor.Token) { t.Kind, t.Role = gestor.TokenService, gestor.RoleViewer })) // another list
}

func TestCreateToken_IsNothingATokenOrALoopCanDo(t *testing.T) {
	w := newWorld(t)
	w.actor.Kind, w.actor.TokenID = "token", "tkn_0"
	w.refuses(fault.KindDenied, ofToken("tkn_1", "ci", nil))
	w.actor = system
	w.refuses(fault.KindDenied, ofToken("tkn_1", "ci", nil))
}

func TestCreateToken_ForATenantIsForAdminsAndNoWiderThanTheirScope(t *testing.T) {
	w := newWorld(t)
	service := func(n gestor.Narrowing) command.CreateToken {
		return ofToken("tkn_1", "ci", func(t *gestor.Token) { t.Kind, t.Role, t.Narrow = gestor.TokenService, gestor.RoleAdmin, n })
	}
	put := func(role gestor.Role, n gestor.Narrowing) {
		x := begin(t, w)
		user := gestor.User{ID: "usr_a", TenantID: "ten_a", Email: "a@example.com", Role: role, Status: gestor.StatusActive, Narrow: n}
		if err := x.PutUser(t.Context(), user); err != nil {
			t.Fatal(err)
		}
		if err := x.Commit(t.Context(), w.index); err != nil {
			t.Fatal(err)
		}
	}
	staging := gestor.Narrowing{Environments: []string{"staging"}}
	put(gestor.RoleDevOps, gestor.Narrowing{})
	w.refuses(fault.KindDenied, service(gestor.Narrowing{}))
	put(gestor.RoleAdmin, staging)
	w.refuses(fault.KindDenied, service(gestor.Narrowing{}))
	w.refuses(fault.KindDenied, service(gestor.Narrowing{Environments: []string{"staging", "production"}}))
	w.must(service(staging))
}

func TestCreateToken_ThereIsAMost(t *testing.T) {
	w := newWorld(t)
	for i := range gestor.MostTokens {
		w.must(ofToken(fmt.Sprintf("tkn_%d", i), fmt.Sprintf("t%d", i), nil))
	}
	w.refuses(fault.KindExhausted, ofToken("tkn_more", "more", nil))
}

func TestDeleteToken_IsOfTheOwnTenantAndMayBeRepeated(t *testing.T) {
	w := newWorld(t)
	w.must(ofToken("tkn_1", "ci", nil))
	mine := w.actor
	w.actor.TenantID = "ten_other"
	w.must(command.DeleteToken{ID: "tkn_1"}) // is nothing there
	if _, err := w.store.View(gestor.SystemScope()).Token(t.Context(), "tkn_1"); err != nil {
		t.Fatalf("another tenant took it back: %v", err)
	}
	w.actor = mine
	w.must(command.DeleteToken{ID: "tkn_1"})
	w.must(command.DeleteToken{ID: "tkn_1"})
	if _, err := w.store.View(gestor.SystemScope()).Token(t.Context(), "tkn_1"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("got %v", err)
	}
}

func TestCreateSession_TakesAHashOnceOnly(t *testing.T) {
	w := newWorld(t)
	session := func(id string) command.CreateSession {
		return command.CreateSession{Session: gestor.Session{
			ID: gestor.SessionID(id), UserID: "usr_a", TokenHash: hashOf("of a terminal"), ExpiresAt: start.Add(time.Hour),
		}}
	}
	w.must(session("ses_1"))
	w.refuses(fault.KindExists, session("ses_2"))
}

// Without this, who has to set up a second factor first would make a token instead, which needs none.
func TestCreateToken_IsNotTheWayAroundASecondFactorThatTheTenantDemands(t *testing.T) {
	w := newWorld(t)
	session := func(second bool) {
		x := begin(t, w)
		err := errors.Join(
			x.PutTenant(t.Context(), gestor.Tenant{ID: "ten_a", Name: "A", Status: gestor.StatusActive, Plan: "enterprise", SecondFactor: true}),
			x.PutSession(t.Context(), gestor.Session{ID: "ses_a", UserID: "usr_a", TenantID: "ten_a", TokenHash: hashOf("s"), SecondFactor: second}),
			x.Commit(t.Context(), w.index),
		)
		if err != nil {
			t.Fatal(err)
		}
		w.actor.SessionID = "ses_a"
	}
	session(false)
	w.refuses(fault.KindDenied, ofToken("tkn_1", "ci", nil))
	w.refuses(fault.KindDenied, ofToken("tkn_1", "ci", func(t *gestor.Token) { t.Kind, t.Role = gestor.TokenService, gestor.RoleAdmin }))
	session(true)
	w.must(ofToken("tkn_1", "ci", nil))
}

// Who has got hold of a token must not leave a door open for when it is taken back.
func TestDeleteToken_TakesBackWhatItInvited(t *testing.T) {
	w := peopled(t)
	w.by("usr_a").must(ofToken("tkn_ci", "ci", func(k *gestor.Token) { k.Kind, k.Role = gestor.TokenService, gestor.RoleAdmin }))
	w.actor = gestor.Actor{Kind: "token", ID: "tkn_ci", Name: "ci", TenantID: "ten_a", TokenID: "tkn_ci"}
	w.must(command.CreateInvitation{Invitation: newInvitation("inv_thief", "thief@example.org", gestor.RoleAdmin)})
	w.by("usr_a").must(command.DeleteToken{ID: "tkn_ci"})
	w.actor = gestor.Actor{Kind: "anonymous"}
	w.refuses(fault.KindUnauthenticated, command.AcceptInvitation{SecretHash: hashOf("inv_thief"), UserID: "usr_thief", PasswordHash: "x"})
}
