package api_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestConfirmTOTP_KeepsTheSecretSealedAndGivesTheSameCodesAgain(t *testing.T) {
	e := newDoor(t)
	g := e.in(ana)
	begun, err := g.factors.BeginTOTP(t.Context(), &gestorv1.BeginTOTPRequest{})
	if err != nil || !strings.HasPrefix(begun.GetUri(), "otpauth://totp/Gestor:ana@example.com?") {
		t.Fatalf("got %v, %v", begun, err)
	}
	a := app{e, strings.ReplaceAll(begun.GetSecret(), " ", "")}
	_, err = g.factors.ConfirmTOTP(t.Context(), &gestorv1.ConfirmTOTPRequest{Pending: begun.GetPending(), Code: "000000", RequestId: "0"})
	wantKind(t, err, fault.KindInvalid)
	req := &gestorv1.ConfirmTOTPRequest{Pending: begun.GetPending(), Code: a.code(0), RequestId: "1"}
	first, err := g.factors.ConfirmTOTP(t.Context(), req)
	if err != nil || len(first.GetRecoveryCodes()) != gestor.RecoveryCodes {
		t.Fatalf("got %v, %v", first, err)
	}
	again, err := g.factors.ConfirmTOTP(t.Context(), req) // the answer was lost
	if err != nil || again.GetFactor().GetId() != first.GetFactor().GetId() || strings.Join(again.GetRecoveryCodes(), " ") != strings.Join(first.GetRecoveryCodes(), " ") {
		t.Errorf("got %v, %v, want %v", again, err, first)
	}
	for _, secret := range append(first.GetRecoveryCodes(), a.secret, strings.ReplaceAll(first.GetRecoveryCodes()[0], "-", "")) {
		if e.inFiles(t, secret) {
			t.Errorf("%s is in the state in clear", secret)
		}
	}
	list, err := g.factors.ListFactors(t.Context(), &gestorv1.ListFactorsRequest{})
	if err != nil || len(list.GetFactors()) != 1 || list.GetRecoveryCodesLeft() != gestor.RecoveryCodes || list.GetRequired() {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestConfirmTOTP_IsForTheSessionThatBegan(t *testing.T) {
	e := newDoor(t)
	begun, err := e.in(ana).factors.BeginTOTP(t.Context(), &gestorv1.BeginTOTPRequest{})
	if err != nil {
		t.Fatal(err)
	}
	a := app{e, strings.ReplaceAll(begun.GetSecret(), " ", "")}
	for _, who := range []string{ana, bia} {
		_, err = e.in(who).factors.ConfirmTOTP(t.Context(), &gestorv1.ConfirmTOTPRequest{Pending: begun.GetPending(), Code: a.code(0), RequestId: "1"})
		wantKind(t, err, fault.KindDenied)
	}
}

func TestPasskey_SignsInAloneOrAfterThePassword(t *testing.T) {
	e := newDoor(t)
	d := e.device("usr_ana", true)
	g := e.in(ana)
	made := d.enrol(g, "Laptop")
	if made.GetFactor().GetName() != "Laptop" || len(made.GetRecoveryCodes()) != gestor.RecoveryCodes {
		t.Errorf("got %v", made)
	}
	begun, err := e.guest("").sessions.BeginPasskeySession(t.Context(), &gestorv1.BeginPasskeySessionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	alone := withPasskey(begun.GetPending(), d.answer(begun.GetPasskeyOptions()))
	res, err := e.complete(alone)
	if err != nil || res.GetSession().GetEmail() != ana || !res.GetSession().GetSecondFactor() {
		t.Fatalf("got %v, %v", res, err)
	}
	_, err = e.complete(alone) // played again
	wantKind(t, err, fault.KindUnauthenticated)
	asked := e.pending(ana)
	if res, err = e.complete(withPasskey(asked.GetPending(), d.answer(asked.GetPasskeyOptions()))); err != nil || res.GetToken() == "" {
		t.Fatalf("got %v, %v", res, err)
	}
}

func TestPasskey_IsRefusedWhenItIsNotTheRightOneForTheRightQuestion(t *testing.T) {
	e := newDoor(t)
	d, mute, foreign := e.device("usr_ana", true), e.device("usr_bia", false), e.device("usr_ana", true)
	d.enrol(e.in(ana), "Laptop")
	mute.enrol(e.in(bia), "Key")
	begin := func() *gestorv1.BeginPasskeySessionResponse {
		begun, err := e.guest("").sessions.BeginPasskeySession(t.Context(), &gestorv1.BeginPasskeySessionRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return begun
	}
	refused := func(name string, req *gestorv1.CompleteSessionRequest) {
		t.Helper()
		if _, err := e.complete(req); !errors.Is(err, fault.KindUnauthenticated) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	b := begin()
	refused("another challenge", withPasskey(begin().GetPending(), d.answer(b.GetPasskeyOptions())))
	refused("who does not verify", withPasskey(b.GetPending(), mute.answer(b.GetPasskeyOptions())))
	refused("never registered", withPasskey(b.GetPending(), foreign.answer(b.GetPasskeyOptions())))
	d.rp.Origin = "https://evil.example"
	refused("another page", withPasskey(b.GetPending(), d.answer(b.GetPasskeyOptions())))
	d.rp.Origin = "https://ctl.example:8443"
	asked := e.pending(ana)
	refused("somebody else's", withPasskey(asked.GetPending(), mute.answer(asked.GetPasskeyOptions())))
	refused("for a code", withCode(b.GetPending(), "000000"))
	d.cred.Counter = 0
	refused("a counter that went back", withPasskey(b.GetPending(), d.answer(b.GetPasskeyOptions())))
	d.cred.Counter = 9
	if _, err := e.complete(withPasskey(b.GetPending(), d.answer(b.GetPasskeyOptions()))); err != nil {
		t.Error(err)
	}
	if res, err := e.complete(func() *gestorv1.CompleteSessionRequest {
		a := e.pending(bia)
		return withPasskey(a.GetPending(), mute.answer(a.GetPasskeyOptions()))
	}()); err != nil || res.GetToken() == "" {
		t.Errorf("a key that does not verify is no second factor: %v", err)
	}
}

func TestPasskey_ProvesAgainWhoOneIs(t *testing.T) {
	e := newDoor(t)
	for _, verifies := range []bool{true, false} {
		who, user := map[bool]string{true: ana, false: bia}[verifies], map[bool]string{true: "usr_ana", false: "usr_bia"}[verifies]
		d := e.device(user, verifies)
		g := e.in(who)
		d.enrol(g, "Key")
		e.wait(auth.FreshFor)
		prove := func(password string) error {
			begun, err := g.sessions.BeginReauthentication(t.Context(), &gestorv1.BeginReauthenticationRequest{})
			if err != nil || !begun.GetPassword() || begun.GetPending() == "" {
				t.Fatalf("got %v, %v", begun, err)
			}
			_, err = g.sessions.ReauthenticateSession(t.Context(), &gestorv1.ReauthenticateSessionRequest{
				Password: password, Pending: begun.GetPending(),
				Proof: &gestorv1.ReauthenticateSessionRequest_PasskeyAssertion{PasskeyAssertion: d.answer(begun.GetPasskeyOptions())},
			})
			return err
		}
		if err := prove(""); (err == nil) != verifies {
			t.Errorf("verifies %v, alone: %v", verifies, err)
		}
		if err := prove(rightPassword); err != nil {
			t.Errorf("verifies %v, with the password: %v", verifies, err)
		}
	}
}

func TestFactors_AreNamedAndRemovedByTheirOwner(t *testing.T) {
	e := newDoor(t)
	g, other := e.in(ana), e.in(bia)
	d := e.device("usr_ana", true)
	id := d.enrol(g, "Laptop").GetFactor().GetId()
	_, err := other.factors.RenameFactor(t.Context(), &gestorv1.RenameFactorRequest{FactorId: id, Name: "mine", RequestId: "1"})
	wantKind(t, err, fault.KindNotFound)
	_, err = other.factors.RemoveFactor(t.Context(), &gestorv1.RemoveFactorRequest{FactorId: id, RequestId: "2"})
	wantKind(t, err, fault.KindNotFound)
	_, err = g.factors.RenameFactor(t.Context(), &gestorv1.RenameFactorRequest{FactorId: id, Name: "a\u202eb", RequestId: "3"})
	wantKind(t, err, fault.KindInvalid)
	res, err := g.factors.RenameFactor(t.Context(), &gestorv1.RenameFactorRequest{FactorId: id, Name: "Desk", RequestId: "4"})
	if err != nil || res.GetFactor().GetName() != "Desk" {
		t.Errorf("got %v, %v", res, err)
	}
	if _, err := g.factors.RemoveFactor(t.Context(), &gestorv1.RemoveFactorRequest{FactorId: id, RequestId: "5"}); err != nil {
		t.Fatal(err)
	}
	e.in(ana) // without a second factor again
}

func TestRecoveryCodes_AreMadeAnew(t *testing.T) {
	e := newDoor(t)
	g := e.in(ana)
	_, err := g.factors.CreateRecoveryCodes(t.Context(), &gestorv1.CreateRecoveryCodesRequest{})
	wantKind(t, err, fault.KindConflict)
	_, old := e.setUp(g)
	res, err := g.factors.CreateRecoveryCodes(t.Context(), &gestorv1.CreateRecoveryCodesRequest{})
	if err != nil || len(res.GetRecoveryCodes()) != gestor.RecoveryCodes {
		t.Fatalf("got %v, %v", res, err)
	}
	_, err = e.complete(withRecovery(e.pending(ana).GetPending(), old[0]))
	wantKind(t, err, fault.KindUnauthenticated)
	if _, err := e.complete(withRecovery(e.pending(ana).GetPending(), res.GetRecoveryCodes()[0])); err != nil {
		t.Error(err)
	}
}

func TestResetFactors_IsForAdministrators(t *testing.T) {
	e := newDoor(t)
	admin, dev := e.in(ana), e.in(bia)
	e.setUp(dev)
	_, err := dev.factors.ResetFactors(t.Context(), &gestorv1.ResetFactorsRequest{User: ana, RequestId: "1"})
	wantKind(t, err, fault.KindDenied)
	if _, err := admin.factors.ResetFactors(t.Context(), &gestorv1.ResetFactorsRequest{User: bia, RequestId: "2"}); err != nil {
		t.Fatal(err)
	}
	_, err = dev.sessions.GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	wantKind(t, err, fault.KindUnauthenticated)
	e.in(bia)
}

func TestForcedSecondFactor_LeavesOnlyTheWayToSetOneUp(t *testing.T) {
	e := newDoor(t)
	e.put(t, func(ctx context.Context, x *state.Txn) error {
		tenant, err := x.Tenant(ctx, "ten_home")
		tenant.SecondFactor = true
		return errors.Join(err, x.PutTenant(ctx, tenant))
	})
	g := e.in(ana)
	_, err := g.sessions.ListUserSessions(t.Context(), &gestorv1.ListUserSessionsRequest{User: bia})
	if !errors.Is(err, fault.KindDenied) || fault.ReasonOf(err) != fault.ReasonSecondFactor || !strings.Contains(err.Error(), "gestor account totp") {
		t.Errorf("got %v", err)
	}
	who, err := g.sessions.GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	if err != nil || !who.GetSecondFactorMissing() {
		t.Errorf("got %v, %v", who, err)
	}
	e.setUp(g)
	if _, err := g.sessions.ListUserSessions(t.Context(), &gestorv1.ListUserSessionsRequest{User: bia}); err != nil {
		t.Error(err)
	}
	list, err := g.factors.ListFactors(t.Context(), &gestorv1.ListFactorsRequest{})
	if err != nil || !list.GetRequired() {
		t.Fatalf("got %v, %v", list, err)
	}
	_, err = g.factors.RemoveFactor(t.Context(), &gestorv1.RemoveFactorRequest{FactorId: list.GetFactors()[0].GetId(), RequestId: "1"})
	wantKind(t, err, fault.KindConflict)
}
