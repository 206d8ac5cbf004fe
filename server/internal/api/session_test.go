package api_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestCreateSession_AsksForTheSecondFactorOnlyAfterARightPassword(t *testing.T) {
	e := newDoor(t)
	e.setUp(e.in(ana))
	for _, email := range []string{ana, bia, "nobody@example.com"} {
		res, err := e.guest("").sessions.CreateSession(t.Context(), &gestorv1.CreateSessionRequest{Email: email, Password: "wrong"})
		if !errors.Is(err, fault.KindUnauthenticated) || res != nil || !strings.Contains(err.Error(), "the e-mail address or the password is wrong") {
			t.Errorf("%s: got %v, %v", email, res, err)
		}
	}
	asked := e.pending(ana)
	want := []gestorv1.FactorKind{gestorv1.FactorKind_FACTOR_KIND_TOTP, gestorv1.FactorKind_FACTOR_KIND_RECOVERY_CODE}
	if !slices.Equal(asked.GetMethods(), want) || asked.GetPasskeyOptions() != "" {
		t.Errorf("got %v", asked)
	}
}

func TestCompleteSession_TakesACodeOnceAndOneStepEitherWay(t *testing.T) {
	e := newDoor(t)
	a, _ := e.setUp(e.in(ana))
	_, err := e.complete(withCode(e.pending(ana).GetPending(), a.code(0)))
	wantKind(t, err, fault.KindUnauthenticated) // the code has confirmed the app
	e.wait(time.Hour)
	for _, steps := range []int{-2, 2} {
		_, err := e.complete(withCode(e.pending(ana).GetPending(), a.code(steps)))
		wantKind(t, err, fault.KindUnauthenticated)
	}
	pending := e.pending(ana).GetPending()
	res, err := e.complete(withCode(pending, a.code(-1)))
	if err != nil || !res.GetSession().GetSecondFactor() || res.GetSession().GetEmail() != ana {
		t.Fatalf("got %v, %v", res, err)
	}
	if _, err := e.guest(res.GetToken()).sessions.GetSession(t.Context(), &gestorv1.GetSessionRequest{}); err != nil {
		t.Error(err)
	}
	_, err = e.complete(withCode(pending, a.code(-1)))
	wantKind(t, err, fault.KindUnauthenticated)
	if _, err := e.complete(withCode(pending, a.code(1))); err != nil {
		t.Errorf("a code with a space less: %v", err)
	}
}

func TestCompleteSession_RefusesAPendingValueThatIsNotOfThisSignIn(t *testing.T) {
	e := newDoor(t)
	a, _ := e.setUp(e.in(ana))
	b, _ := e.setUp(e.in(bia))
	e.wait(time.Hour)
	begun, err := e.in2(ana, a).factors.BeginTOTP(t.Context(), &gestorv1.BeginTOTPRequest{})
	if err != nil {
		t.Fatal(err)
	}
	e.wait(time.Hour)
	good := e.pending(ana).GetPending()
	for name, req := range map[string]*gestorv1.CompleteSessionRequest{
		"somebody else's code": withCode(good, b.code(0)),
		"another purpose":      withCode(begun.GetPending(), a.code(0)),
		"cut":                  withCode(good[:len(good)-4], a.code(0)),
		"changed":              withCode("A"+good[1:len(good)-1]+"A", a.code(0)),
		"nonsense":             withCode("nonsense", a.code(0)),
		"a passkey":            withPasskey(good, "{}"),
	} {
		if _, err := e.complete(req); !errors.Is(err, fault.KindUnauthenticated) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	e.wait(auth.SignInFor)
	_, err = e.complete(withCode(good, a.code(0)))
	wantKind(t, err, fault.KindUnauthenticated)
}

// in2 signs in with an app.
func (e *door) in2(email string, a app) guest {
	e.t.Helper()
	res, err := e.complete(withCode(e.pending(email).GetPending(), a.code(0)))
	if err != nil {
		e.t.Fatal(err)
	}
	return e.guest(res.GetToken())
}

func TestCompleteSession_EndsWithPasswordAndAccount(t *testing.T) {
	e := newDoor(t)
	a, _ := e.setUp(e.in(bia))
	e.wait(time.Hour)
	change := func(do func(*gestor.User)) {
		e.put(t, func(ctx context.Context, x *state.Txn) error {
			u, err := x.User(ctx, "usr_bia")
			do(&u)
			return errors.Join(err, x.PutUser(ctx, u))
		})
	}
	pending := e.pending(bia).GetPending()
	before, err := e.View(gestor.SystemScope()).User(t.Context(), "usr_bia")
	if err != nil {
		t.Fatal(err)
	}
	change(func(u *gestor.User) { u.PasswordHash = "$argon2id$other" })
	_, err = e.complete(withCode(pending, a.code(0)))
	wantKind(t, err, fault.KindUnauthenticated)
	change(func(u *gestor.User) { *u = before; u.Status = gestor.StatusBlocked })
	_, err = e.complete(withCode(pending, a.code(0)))
	wantKind(t, err, fault.KindDenied)
	change(func(u *gestor.User) { *u = before })
	if _, err = e.complete(withCode(pending, a.code(0))); err != nil {
		t.Error(err)
	}
}

func TestCompleteSession_BrakesGuessesOverAllThatIsUnderWay(t *testing.T) {
	e := newDoor(t)
	a, _ := e.setUp(e.in(ana))
	e.wait(time.Hour)
	refused := false
	for range 8 {
		_, err := e.complete(withCode(e.pending(ana).GetPending(), "000000")) // a right password each time
		refused = refused || errors.Is(err, fault.KindExhausted)
	}
	if !refused {
		t.Error("nobody counts the codes")
	}
	_, err := e.complete(withCode(e.pending(ana).GetPending(), a.code(0)))
	wantKind(t, err, fault.KindExhausted)
	e.wait(20 * time.Minute)
	if _, err := e.complete(withCode(e.pending(ana).GetPending(), a.code(0))); err != nil {
		t.Errorf("the brake holds for good: %v", err)
	}
}

func TestRecoveryCode_WorksOnceAlsoWhenManyUseItAtOnce(t *testing.T) {
	e := newDoor(t)
	_, codes := e.setUp(e.in(ana))
	if len(codes) != gestor.RecoveryCodes {
		t.Fatalf("got %d codes", len(codes))
	}
	pending := e.pending(ana).GetPending()
	var in atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if res, err := e.complete(withRecovery(pending, " "+strings.ToUpper(codes[3]))); err == nil {
				in.Add(1)
				if res.GetRecoveryCodesLeft() != gestor.RecoveryCodes-1 {
					t.Errorf("%d are left", res.GetRecoveryCodesLeft())
				}
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 {
		t.Errorf("%d have signed in with one code", in.Load())
	}
	e.wait(20 * time.Minute)
	if _, err := e.complete(withRecovery(e.pending(ana).GetPending(), codes[4])); err != nil {
		t.Error(err)
	}
}

func TestReauthenticateSession_MakesFreshWithAllThereIs(t *testing.T) {
	e := newDoor(t)
	g := e.in(ana)
	e.wait(auth.FreshFor)
	_, err := g.factors.BeginTOTP(t.Context(), &gestorv1.BeginTOTPRequest{})
	if !errors.Is(err, fault.KindDenied) || fault.ReasonOf(err) != fault.ReasonStepUp {
		t.Fatalf("got %v, %s", err, fault.ReasonOf(err))
	}
	again := func(req *gestorv1.ReauthenticateSessionRequest) error {
		_, err := g.sessions.ReauthenticateSession(t.Context(), req)
		return err
	}
	wantKind(t, again(&gestorv1.ReauthenticateSessionRequest{Password: "wrong"}), fault.KindDenied)
	wantKind(t, again(&gestorv1.ReauthenticateSessionRequest{}), fault.KindInvalid)
	if err := again(&gestorv1.ReauthenticateSessionRequest{Password: rightPassword}); err != nil {
		t.Fatal(err)
	}
	a, codes := e.setUp(g)
	e.wait(time.Hour)
	wantKind(t, again(&gestorv1.ReauthenticateSessionRequest{Password: rightPassword}), fault.KindUnauthenticated)
	wantKind(t, again(&gestorv1.ReauthenticateSessionRequest{
		Proof: &gestorv1.ReauthenticateSessionRequest_TotpCode{TotpCode: a.code(0)},
	}), fault.KindInvalid) // no password
	withApp := &gestorv1.ReauthenticateSessionRequest{Password: rightPassword, Proof: &gestorv1.ReauthenticateSessionRequest_TotpCode{TotpCode: a.code(0)}}
	if err := again(withApp); err != nil {
		t.Fatal(err)
	}
	wantKind(t, again(withApp), fault.KindUnauthenticated)
	if _, err := g.factors.BeginTOTP(t.Context(), &gestorv1.BeginTOTPRequest{}); err != nil {
		t.Error(err)
	}
	withCode := &gestorv1.ReauthenticateSessionRequest{Password: rightPassword, Proof: &gestorv1.ReauthenticateSessionRequest_RecoveryCode{RecoveryCode: codes[0]}}
	if err := again(withCode); err != nil {
		t.Error(err)
	}
}

func TestSessions_AreListedAndRevokedByTheirOwner(t *testing.T) {
	e := newDoor(t)
	one, two, other := e.in(ana), e.in(ana), e.in(bia)
	list, err := one.sessions.ListSessions(t.Context(), &gestorv1.ListSessionsRequest{})
	if err != nil || len(list.GetSessions()) != 2 {
		t.Fatalf("got %v, %v", list, err)
	}
	foreign := list.GetSessions()[0].GetId()
	_, err = other.sessions.RevokeSession(t.Context(), &gestorv1.RevokeSessionRequest{SessionId: foreign, RequestId: "1"})
	wantKind(t, err, fault.KindNotFound)
	_, err = one.sessions.RevokeOtherSessions(t.Context(), &gestorv1.RevokeOtherSessionsRequest{RequestId: "2"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = two.sessions.GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	wantKind(t, err, fault.KindUnauthenticated)
	if list, err = one.sessions.ListSessions(t.Context(), &gestorv1.ListSessionsRequest{}); err != nil || len(list.GetSessions()) != 1 || !list.GetSessions()[0].GetCurrent() {
		t.Fatalf("got %v, %v", list, err)
	}
	_, err = one.sessions.RevokeSession(t.Context(), &gestorv1.RevokeSessionRequest{SessionId: list.GetSessions()[0].GetId(), RequestId: "3"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = one.sessions.GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	wantKind(t, err, fault.KindUnauthenticated)
}

func TestUserSessions_AreForAdministrators(t *testing.T) {
	e := newDoor(t)
	admin, dev := e.in(ana), e.in(bia)
	_, err := dev.sessions.ListUserSessions(t.Context(), &gestorv1.ListUserSessionsRequest{User: ana})
	wantKind(t, err, fault.KindDenied)
	list, err := admin.sessions.ListUserSessions(t.Context(), &gestorv1.ListUserSessionsRequest{User: bia})
	if err != nil || len(list.GetSessions()) != 1 || list.GetSessions()[0].GetCurrent() {
		t.Fatalf("got %v, %v", list, err)
	}
	_, err = admin.sessions.RevokeUserSessions(t.Context(), &gestorv1.RevokeUserSessionsRequest{User: bia, SessionId: "ses_other", RequestId: "1"})
	wantKind(t, err, fault.KindNotFound)
	if _, err = admin.sessions.RevokeUserSessions(t.Context(), &gestorv1.RevokeUserSessionsRequest{User: bia, RequestId: "2"}); err != nil {
		t.Fatal(err)
	}
	_, err = dev.sessions.GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	wantKind(t, err, fault.KindUnauthenticated)
}

func TestSession_EndsWhenItIsIdleAndLivesWhileItIsUsed(t *testing.T) {
	e := newDoor(t)
	res := e.password(ana)
	g := e.guest(res.GetToken())
	alive := func() error {
		_, err := g.sessions.GetSession(t.Context(), &gestorv1.GetSessionRequest{})
		return err
	}
	e.wait(auth.IdleAfter - time.Second)
	if err := alive(); err != nil {
		t.Fatal(err)
	}
	e.do(t, command.TouchSessions{Touches: []gestor.Touch{{Session: gestor.SessionID(res.GetSession().GetId()), At: e.clock(), From: "192.0.2.1"}}})
	e.wait(auth.IdleAfter - time.Second)
	if err := alive(); err != nil {
		t.Fatalf("ended although it was used: %v", err)
	}
	e.wait(2 * time.Second)
	wantKind(t, alive(), fault.KindUnauthenticated)
}

func TestSignInAndOut_WorkWhileTheTenantIsSuspendedAndNotFromTheTrash(t *testing.T) {
	e := newDoor(t)
	a, _ := e.setUp(e.in(ana))
	e.wait(time.Hour)
	status := func(s string) {
		e.put(t, func(ctx context.Context, x *state.Txn) error {
			tenant, err := x.Tenant(ctx, "ten_home")
			tenant.Status = s
			return errors.Join(err, x.PutTenant(ctx, tenant))
		})
	}
	status(gestor.StatusSuspended)
	g := e.in2(ana, a)
	if _, err := g.sessions.RevokeOtherSessions(t.Context(), &gestorv1.RevokeOtherSessionsRequest{RequestId: "1"}); err != nil {
		t.Error(err)
	}
	if _, err := g.sessions.DeleteSession(t.Context(), &gestorv1.DeleteSessionRequest{}); err != nil {
		t.Error(err)
	}
	status(gestor.StatusTrash)
	e.wait(time.Hour)
	_, err := e.complete(withCode(e.pending(ana).GetPending(), a.code(0)))
	wantKind(t, err, fault.KindDenied)
	_, err = e.guest("").sessions.CreateSession(t.Context(), &gestorv1.CreateSessionRequest{Email: bia, Password: rightPassword})
	wantKind(t, err, fault.KindDenied)
}
