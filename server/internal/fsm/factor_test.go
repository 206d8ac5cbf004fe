package fsm

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func newSession(id gestor.SessionID) gestor.Session {
	return gestor.Session{ID: id, UserID: "usr_a", TokenHash: hashOf(string(id)), ExpiresAt: start.Add(1e15)}
}

func addTOTP(id gestor.FactorID) command.AddFactor {
	return command.AddFactor{
		Factor:   gestor.Factor{ID: id, UserID: "usr_a", Kind: gestor.FactorTOTP, Name: "App", Secret: []byte("sealed"), Step: 10},
		Recovery: [][]byte{hashOf("r1"), hashOf("r2")},
	}
}

func addPasskey(id gestor.FactorID, credential string) command.AddFactor {
	return command.AddFactor{Factor: gestor.Factor{
		ID: id, UserID: "usr_a", Kind: gestor.FactorPasskey, Name: "Key", CredentialID: []byte(credential), Credential: []byte("{}"), SignCount: 5,
	}}
}

func (w *world) events() int {
	w.t.Helper()
	all, _, err := w.store.View(gestor.TenantScope("ten_a")).Events(w.t.Context(), state.EventFilter{Kind: "session"}, gestor.Page{})
	if err != nil {
		w.t.Fatal(err)
	}
	return len(all)
}

func (w *world) factors() []gestor.Factor {
	w.t.Helper()
	all, err := w.store.View(gestor.TenantScope("ten_a")).FactorsByUser(w.t.Context(), "usr_a")
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) recovery() int {
	w.t.Helper()
	all, err := w.store.View(gestor.TenantScope("ten_a")).RecoveryCodes(w.t.Context(), "usr_a")
	if err != nil {
		w.t.Fatal(err)
	}
	return len(all)
}

func TestAddFactor_MarksTheUserAndReplacesAnApp(t *testing.T) {
	w := newWorld(t)
	w.must(addTOTP("fac_1"))
	w.must(addTOTP("fac_2"))
	w.must(addPasskey("fac_3", "k"))
	if got := w.factors(); len(got) != 2 || got[0].ID != "fac_2" || got[1].ID != "fac_3" || !w.user("usr_a").HasFactor || w.recovery() != 2 {
		t.Errorf("got %+v, %d codes", got, w.recovery())
	}
	w.refuses(fault.KindExists, addPasskey("fac_4", "k"))
}

func TestAddFactor_CountsForTheSessionThatSetItUp(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateSession{Session: newSession("ses_1")})
	w.must(command.CreateSession{Session: newSession("ses_2")})
	w.actor.SessionID = "ses_1"
	w.must(addTOTP("fac_1"))
	for id, want := range map[gestor.SessionID]bool{"ses_1": true, "ses_2": false} {
		if s, err := w.view().Session(t.Context(), id); err != nil || s.SecondFactor != want {
			t.Errorf("%s: got %v, %v", id, s.SecondFactor, err)
		}
	}
}

func TestAddFactor_StopsAtTheMost(t *testing.T) {
	w := newWorld(t)
	for i := range gestor.MostFactors {
		w.must(addPasskey(gestor.FactorID(rune('a'+i)), string(rune('a'+i))))
	}
	w.refuses(fault.KindConflict, addPasskey("fac_over", "over"))
}

func TestFactors_AreChangedByThePersonAlone(t *testing.T) {
	w := newWorld(t)
	w.must(addTOTP("fac_1"))
	w.actor.ID = "usr_other"
	w.refuses(fault.KindDenied, addPasskey("fac_2", "k"))
	w.refuses(fault.KindDenied, command.SetRecoveryCodes{UserID: "usr_a", Hashes: [][]byte{hashOf("x")}})
	w.refuses(fault.KindNotFound, command.RemoveFactor{ID: "fac_1"})
	w.refuses(fault.KindNotFound, command.RenameFactor{ID: "fac_1", Name: "x"})
	w.actor.TenantID = "ten_b"
	w.refuses(fault.KindNotFound, addPasskey("fac_2", "k"))
	w.refuses(fault.KindNotFound, command.ResetFactors{UserID: "usr_a"})
	w.refuses(fault.KindNotFound, command.EndSessions{UserID: "usr_a"})
}

func TestRemoveFactor_TakesRecoveryCodesWithTheLast(t *testing.T) {
	w := newWorld(t)
	w.must(addTOTP("fac_1"))
	w.must(addPasskey("fac_2", "k"))
	w.must(command.RemoveFactor{ID: "fac_1"})
	if !w.user("usr_a").HasFactor || w.recovery() != 2 {
		t.Error("the last factor's things went with another")
	}
	w.must(command.RemoveFactor{ID: "fac_2"})
	if w.user("usr_a").HasFactor || w.recovery() != 0 || len(w.factors()) != 0 {
		t.Error("something of the last factor is left")
	}
	w.refuses(fault.KindConflict, command.SetRecoveryCodes{UserID: "usr_a", Hashes: [][]byte{hashOf("x")}})
}

// demandSecondFactor makes the tenant want one.
func (w *world) demandSecondFactor() {
	w.t.Helper()
	x, err := w.store.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	tenant, err := x.Tenant(w.t.Context(), "ten_a")
	tenant.SecondFactor = true
	w.index++
	if err := errors.Join(err, x.PutTenant(w.t.Context(), tenant), x.Commit(w.t.Context(), w.index)); err != nil {
		w.t.Fatal(err)
	}
}

func TestRemoveFactor_KeepsTheLastThatTheTenantDemands(t *testing.T) {
	w := newWorld(t)
	w.must(addTOTP("fac_1"))
	w.must(addPasskey("fac_2", "k"))
	w.demandSecondFactor()
	w.must(command.RemoveFactor{ID: "fac_1"})
	w.refuses(fault.KindConflict, command.RemoveFactor{ID: "fac_2"})
}

// stampOfAlice is the founder's, as long as nothing of hers was changed.
func stampOfAlice() []byte { return gestor.User{ID: "usr_a", Email: "a@example.com"}.Stamp() }

func signInWith(id gestor.SessionID, use gestor.FactorUse) command.SignIn {
	op := command.SignIn{Session: newSession(id), Use: use}
	if len(use.Challenge.Hash) == 0 {
		op.Stamp = stampOfAlice()
	}
	return op
}

func TestSignIn_UsesACodeOfAnAppOnce(t *testing.T) {
	w := newWorld(t)
	w.must(addTOTP("fac_1"))
	use := gestor.FactorUse{Factor: "fac_1", Step: 11}
	w.refuses(fault.KindUnauthenticated, signInWith("ses_0", gestor.FactorUse{Factor: "fac_1", Step: 10})) // it confirmed the app
	w.must(signInWith("ses_1", use))
	w.refuses(fault.KindUnauthenticated, signInWith("ses_2", use))
	w.must(signInWith("ses_3", gestor.FactorUse{Factor: "fac_1", Step: 12}))
	s, err := w.store.View(gestor.SystemScope()).Session(t.Context(), "ses_1")
	if err != nil || !s.SecondFactor || !s.FreshAt.Equal(start) {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestSignIn_UsesARecoveryCodeOnce(t *testing.T) {
	w := newWorld(t)
	w.must(addTOTP("fac_1"))
	w.must(signInWith("ses_1", gestor.FactorUse{Recovery: hashOf("r1")}))
	w.refuses(fault.KindUnauthenticated, signInWith("ses_2", gestor.FactorUse{Recovery: hashOf("r1")}))
	w.refuses(fault.KindUnauthenticated, signInWith("ses_2", gestor.FactorUse{Recovery: hashOf("never")}))
	if w.recovery() != 1 {
		t.Errorf("%d codes are left", w.recovery())
	}
}

func TestSignIn_AnswersAChallengeOnceAndWatchesTheCounter(t *testing.T) {
	w := newWorld(t)
	w.must(addPasskey("fac_1", "k"))
	use := func(challenge string, count uint32) gestor.FactorUse {
		return gestor.FactorUse{Factor: "fac_1", SignCount: count, Challenge: gestor.Challenge{Hash: hashOf(challenge), Until: w.now.Add(time.Minute)}}
	}
	w.must(signInWith("ses_1", use("c1", 6)))
	w.refuses(fault.KindUnauthenticated, signInWith("ses_2", use("c1", 7)))
	w.refuses(fault.KindUnauthenticated, signInWith("ses_2", use("c2", 6)))
	w.refuses(fault.KindUnauthenticated, signInWith("ses_2", gestor.FactorUse{Factor: "fac_1", SignCount: 9}))
	w.must(signInWith("ses_2", use("c2", 7)))
	late := use("c3", 8)
	w.now = w.now.Add(2 * time.Minute)
	w.refuses(fault.KindUnauthenticated, signInWith("ses_3", late))
	w.must(signInWith("ses_3", use("c4", 8)))
	if got := w.factors()[0]; len(got.Challenges) != 1 || got.SignCount != 8 {
		t.Errorf("challenges that are over are kept: %+v", got)
	}
	for i := range gestor.MostChallenges - 1 {
		w.must(signInWith(gestor.SessionID("ses_m"+string(rune('A'+i))), use(string(rune('A'+i)), uint32(9+i))))
	}
	w.refuses(fault.KindExhausted, signInWith("ses_over", use("over", 99)))
}

func TestSignIn_RefusesASecondFactorOfSomebodyElse(t *testing.T) {
	w := peopled(t)
	w.must(addTOTP("fac_1"))
	session := newSession("ses_1")
	session.UserID = "usr_viewer"
	w.refuses(fault.KindUnauthenticated, command.SignIn{Session: session, Use: gestor.FactorUse{Factor: "fac_1", Step: 11}})
	w.refuses(fault.KindUnauthenticated, command.SignIn{Session: session, Use: gestor.FactorUse{Recovery: hashOf("r1")}})
	w.refuses(fault.KindUnauthenticated, command.SignIn{Session: session})
}

func TestCreateSession_NeedsTheSecondFactorOfWhoHasOne(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateSession{Session: newSession("ses_1")})
	w.must(addTOTP("fac_1"))
	w.refuses(fault.KindUnauthenticated, command.CreateSession{Session: newSession("ses_2")})
	provider := newSession("ses_3") // whose word is enough for the tenant
	provider.SecondFactor = true
	w.must(command.CreateSession{Session: provider})
}

func TestSignIn_EndsWithThePasswordThatWasChecked(t *testing.T) {
	w := newWorld(t)
	w.must(addTOTP("fac_1"))
	stamp := w.user("usr_a").Stamp()
	w.must(command.SetPassword{UserID: "usr_a", PasswordHash: "$argon2id$new", Stamp: stamp})
	op := signInWith("ses_1", gestor.FactorUse{Factor: "fac_1", Step: 11})
	op.Stamp = stamp
	w.refuses(fault.KindUnauthenticated, op)
	w.refuses(fault.KindUnauthenticated, command.CreateSession{Session: newSession("ses_1"), Stamp: stamp})
	op.Stamp = w.user("usr_a").Stamp()
	w.must(op)
}

func TestReauthenticate_MakesASessionFreshForWhatTheUserHas(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateSession{Session: newSession("ses_1")})
	w.now = w.now.Add(time.Hour)
	stamp := w.user("usr_a").Stamp()
	w.refuses(fault.KindUnauthenticated, command.Reauthenticate{ID: "ses_1"})
	w.must(command.Reauthenticate{ID: "ses_1", Stamp: stamp})
	s, err := w.store.View(gestor.SystemScope()).Session(t.Context(), "ses_1")
	if err != nil || !s.FreshAt.Equal(w.now) || s.SecondFactor {
		t.Errorf("got %+v, %v", s, err)
	}
	w.must(addTOTP("fac_1"))
	w.refuses(fault.KindUnauthenticated, command.Reauthenticate{ID: "ses_1", Stamp: stamp})
	w.must(command.Reauthenticate{ID: "ses_1", Stamp: stamp, Use: gestor.FactorUse{Factor: "fac_1", Step: 11}})
	w.refuses(fault.KindUnauthenticated, command.Reauthenticate{ID: "ses_1", Stamp: stamp, Use: gestor.FactorUse{Factor: "fac_1", Step: 11}})
	w.actor.ID = "usr_other"
	w.refuses(fault.KindDenied, command.Reauthenticate{ID: "ses_1", Stamp: stamp, Use: gestor.FactorUse{Factor: "fac_1", Step: 12}})
}

func TestResetFactors_SignsThePersonOut(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateSession{Session: newSession("ses_1")})
	w.must(addTOTP("fac_1"))
	w.must(command.ResetFactors{UserID: "usr_a"})
	_, err := w.store.View(gestor.SystemScope()).Session(t.Context(), "ses_1")
	if !errors.Is(err, fault.KindNotFound) || w.user("usr_a").HasFactor || len(w.factors()) != 0 || w.recovery() != 0 {
		t.Errorf("something is left: %v", err)
	}
}

func TestTouchSessions_NeverGoesBackAndForgetsWhatIsGone(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateSession{Session: newSession("ses_1")})
	at := start.Add(time.Hour)
	w.actor = system
	w.must(command.TouchSessions{Touches: []gestor.Touch{{Session: "ses_1", At: at, From: "192.0.2.1"}, {Session: "ses_gone", At: at}, {Token: "tok_gone", At: at}}})
	w.must(command.TouchSessions{Touches: []gestor.Touch{{Session: "ses_1", At: start.Add(time.Minute), From: "192.0.2.2"}}})
	s, err := w.store.View(gestor.SystemScope()).Session(t.Context(), "ses_1")
	if err != nil || !s.SeenAt.Equal(at) || s.SeenFrom != "192.0.2.1" {
		t.Errorf("got %+v, %v", s, err)
	}
	w.now = at.Add(idleFor - time.Second)
	w.must(command.Prune{Before: start})
	if _, err := w.store.View(gestor.SystemScope()).Session(t.Context(), "ses_1"); err != nil {
		t.Errorf("a session in use is gone: %v", err)
	}
	w.now = at.Add(idleFor + time.Second)
	w.must(command.Prune{Before: start})
	if _, err := w.store.View(gestor.SystemScope()).Session(t.Context(), "ses_1"); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("an idle session stays: %v", err)
	}
}

func TestNoteNetwork_TellsOfANewOneAndRemembersTheLast(t *testing.T) {
	w := newWorld(t)
	from := func(id, network string) {
		w.must(command.CreateSession{Session: newSession(gestor.SessionID(id)), Network: network})
	}
	from("ses_1", "10.0.1.0/24") // the first is none to tell of
	if n := w.events(); n != 0 {
		t.Errorf("%d events of the first sign-in", n)
	}
	from("ses_2", "10.0.2.0/24")
	from("ses_3", "10.0.1.0/24")
	if n := w.events(); n != 1 || !slices.Equal(w.user("usr_a").Networks, []string{"10.0.2.0/24", "10.0.1.0/24"}) {
		t.Errorf("%d events, networks %v", n, w.user("usr_a").Networks)
	}
	for i := range gestor.MostNetworks + 3 {
		from("ses_n"+string(rune('A'+i)), "2001:db8::"+string(rune('a'+i)))
	}
	if n := len(w.user("usr_a").Networks); n != gestor.MostNetworks {
		t.Errorf("%d networks are kept", n)
	}
}
