package api

import (
	"context"
	"crypto/subtle"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// proof is a second factor as requests carry it: one of them.
type proof interface {
	GetTotpCode() string
	GetRecoveryCode() string
	GetPasskeyAssertion() string
}

// prove checks a second factor of a user. Whatever was tried counts for the user, over all that is under way, until the
// command that uses it has been carried out.
func (s *SessionService) prove(ctx context.Context, user gestor.User, pr proof, p auth.Pending) (gestor.FactorUse, error) {
	if wait := s.deps.Codes.Take(string(user.ID)); wait > 0 {
		return gestor.FactorUse{}, tooMany(wait)
	}
	view := s.deps.Engine.View(gestor.TenantScope(user.TenantID))
	factors, err := view.FactorsByUser(ctx, user.ID)
	if err != nil {
		return gestor.FactorUse{}, err
	}
	var use gestor.FactorUse
	switch {
	case pr.GetTotpCode() != "":
		use, err = s.proveTOTP(user, factors, pr.GetTotpCode())
	case pr.GetRecoveryCode() != "":
		use, err = s.proveRecovery(ctx, user, pr.GetRecoveryCode())
	default:
		var answer auth.Answer
		answer, err = s.provePasskey(user, factors, pr.GetPasskeyAssertion(), p)
		use = answer.Use
	}
	if err != nil {
		s.deps.Log.Warn("second factor refused", "address", requestOf(ctx).address, "user", user.ID)
		s.deps.Attempts.Refused(ctx, signInRefused(ctx, user, whyFactor))
	}
	return use, err
}

// wrongFactor is one message for all ways to be wrong.
func wrongFactor() error {
	return fault.Unauthenticated("the code or passkey is wrong, or has been used already").WithFix("try again with a new one")
}

func (s *SessionService) proveTOTP(user gestor.User, factors []gestor.Factor, code string) (gestor.FactorUse, error) {
	at := slices.IndexFunc(factors, func(f gestor.Factor) bool { return f.Kind == gestor.FactorTOTP })
	if at < 0 {
		return gestor.FactorUse{}, wrongFactor()
	}
	secret, err := s.deps.Sealer.Open(factors[at].Secret, gestor.TOTPPlace(user.ID))
	if err != nil {
		return gestor.FactorUse{}, fault.Conflict("this server cannot read the secret of your authenticator app").
			WithFix("use a recovery code or a passkey, and tell the operator of this installation").WithCause(err)
	}
	step, ok := auth.CheckTOTP(string(secret), code, s.deps.Now(), factors[at].Step)
	if !ok {
		return gestor.FactorUse{}, wrongFactor()
	}
	return gestor.FactorUse{Factor: factors[at].ID, Step: step}, nil
}

func (s *SessionService) proveRecovery(ctx context.Context, user gestor.User, typed string) (gestor.FactorUse, error) {
	hash, ok := auth.HashRecoveryCode(typed)
	if !ok {
		return gestor.FactorUse{}, wrongFactor()
	}
	left, err := s.deps.Engine.View(gestor.TenantScope(user.TenantID)).RecoveryCodes(ctx, user.ID)
	if err != nil {
		return gestor.FactorUse{}, err
	}
	if !slices.ContainsFunc(left, func(r gestor.RecoveryCode) bool { return subtle.ConstantTimeCompare(r.Hash, hash) == 1 }) {
		return gestor.FactorUse{}, wrongFactor()
	}
	return gestor.FactorUse{Recovery: hash}, nil
}

func (s *SessionService) provePasskey(user gestor.User, factors []gestor.Factor, assertion string, p auth.Pending) (auth.Answer, error) {
	if assertion == "" || len(p.Passkey) == 0 {
		return auth.Answer{}, wrongFactor()
	}
	answer, err := s.deps.Passkeys.Answered(user, factors, p.Passkey, assertion)
	answer.Use.Challenge.Until = p.Until()
	return answer, err
}

// BeginReauthentication says what proves who the caller is, and asks for a passkey if there is one.
func (s *SessionService) BeginReauthentication(
	ctx context.Context, _ *gestorv1.BeginReauthenticationRequest,
) (*gestorv1.BeginReauthenticationResponse, error) {
	caller, err := personOf(ctx)
	if err != nil {
		return nil, err
	}
	factors, methods, err := s.methods(ctx, caller.User)
	if err != nil {
		return nil, err
	}
	out := &gestorv1.BeginReauthenticationResponse{Methods: methods, Password: caller.User.PasswordHash != ""}
	if !slices.Contains(methods, gestorv1.FactorKind_FACTOR_KIND_PASSKEY) || s.deps.Passkeys.Possible() != nil {
		return out, nil //nolint:nilerr // where there can be no passkeys, none is asked for
	}
	p := auth.Pending{
		Purpose: auth.PendingReauthenticate, User: caller.User.ID, Session: caller.Session.ID, Network: networkOf(ctx), At: s.deps.Now(),
	}
	if out.PasskeyOptions, p.Passkey, err = s.deps.Passkeys.Ask(caller.User, factors); err != nil {
		return nil, err
	}
	out.Pending, err = auth.SealPending(s.deps.Sealer, p)
	return out, err
}

// personOf is the signed-in person who calls.
func personOf(ctx context.Context) (auth.Caller, error) {
	caller, _ := auth.CallerFrom(ctx)
	if caller.Kind != auth.User {
		return caller, fault.Denied("only a signed-in person may do this, not a token").WithFix("sign in with `gestor login`")
	}
	return caller, nil
}

// ReauthenticateSession proves again who the caller is.
func (s *SessionService) ReauthenticateSession(
	ctx context.Context, req *gestorv1.ReauthenticateSessionRequest,
) (*gestorv1.ReauthenticateSessionResponse, error) {
	caller, err := personOf(ctx)
	if err != nil {
		return nil, err
	}
	op, err := s.reprove(ctx, caller, req)
	if err != nil {
		return nil, err
	}
	receipt, err := s.deps.Engine.Propose(ctx, command.Command{At: s.deps.Now(), Actor: caller.Actor, Op: op})
	if err != nil {
		return nil, err
	}
	if err := s.deps.Engine.Wait(ctx, receipt.Revision); err != nil {
		return nil, err
	}
	if !op.Use.IsZero() {
		s.deps.Codes.Succeeded(string(caller.User.ID))
	}
	session, err := s.deps.Engine.View(gestor.TenantScope(caller.Tenant)).Session(ctx, caller.Session.ID)
	if err != nil {
		return nil, err
	}
	out, err := sessionOut(ctx, s.deps.Engine, caller.User, session)
	return &gestorv1.ReauthenticateSessionResponse{Session: out}, err
}

// reprove checks what the caller shows: a passkey that made sure who holds it, or the password with what there is besides.
func (s *SessionService) reprove(ctx context.Context, caller auth.Caller, req *gestorv1.ReauthenticateSessionRequest) (command.Reauthenticate, error) {
	op := command.Reauthenticate{ID: caller.Session.ID}
	if req.GetPassword() == "" {
		answer, err := s.reproveAlone(ctx, caller, req)
		op.Use = answer.Use
		return op, err
	}
	shown := req.GetTotpCode() != "" || req.GetRecoveryCode() != "" || req.GetPasskeyAssertion() != ""
	if caller.User.HasFactor && !shown {
		return op, fault.Unauthenticated("your second factor is needed too").WithFix("send the code of your app, a recovery code or a passkey")
	}
	if err := s.reprovePassword(ctx, caller.User, req.GetPassword()); err != nil {
		return op, err
	}
	op.Stamp = caller.User.Stamp()
	if !caller.User.HasFactor {
		return op, nil
	}
	p, err := s.reprovePending(ctx, caller, req)
	if err != nil {
		return op, err
	}
	op.Use, err = s.prove(ctx, caller.User, req, p)
	return op, err
}

func (s *SessionService) reprovePassword(ctx context.Context, user gestor.User, password string) error {
	network := networkOf(ctx)
	if wait := s.take(user.Email, network); wait > 0 {
		return tooMany(wait)
	}
	ok, err := s.deps.Passwords.Verify(ctx, user.PasswordHash, password)
	if err != nil {
		return err
	}
	if !ok {
		s.deps.Log.Warn("reauthentication refused", "address", requestOf(ctx).address, "user", user.ID)
		return fault.Denied("the password is wrong")
	}
	s.deps.Accounts.Succeeded(user.Email)
	s.deps.Networks.Undo(network)
	return nil
}

// reproveAlone checks a passkey without a password.
func (s *SessionService) reproveAlone(ctx context.Context, caller auth.Caller, req *gestorv1.ReauthenticateSessionRequest) (auth.Answer, error) {
	if req.GetPasskeyAssertion() == "" {
		return auth.Answer{}, fault.Invalid("password", "it is empty").WithFix("send the password, or a passkey")
	}
	p, err := s.reprovePending(ctx, caller, req)
	if err != nil {
		return auth.Answer{}, err
	}
	factors, err := s.deps.Engine.View(gestor.TenantScope(caller.Tenant)).FactorsByUser(ctx, caller.User.ID)
	if err != nil {
		return auth.Answer{}, err
	}
	answer, err := s.provePasskey(caller.User, factors, req.GetPasskeyAssertion(), p)
	if err == nil && !answer.Verified {
		err = fault.Denied("the passkey did not make sure who holds it").WithFix("send the password too")
	}
	return answer, err
}

// reprovePending is what a passkey was asked, if one answers.
func (s *SessionService) reprovePending(ctx context.Context, caller auth.Caller, req *gestorv1.ReauthenticateSessionRequest) (auth.Pending, error) {
	if req.GetPasskeyAssertion() == "" {
		return auth.Pending{}, nil
	}
	p, err := auth.OpenPending(s.deps.Sealer, auth.PendingReauthenticate, req.GetPending(), networkOf(ctx), s.deps.Now())
	if err == nil && (p.User != caller.User.ID || p.Session != caller.Session.ID) {
		err = wrongFactor()
	}
	return p, err
}
