package api

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// ask asks a user whose password was right for a second factor.
func (s *SessionService) ask(ctx context.Context, user gestor.User) (*gestorv1.SecondFactor, error) {
	factors, methods, err := s.methods(ctx, user)
	if err != nil {
		return nil, err
	}
	p := auth.Pending{Purpose: auth.PendingSignIn, User: user.ID, Stamp: user.Stamp(), Network: networkOf(ctx), At: s.deps.Now()}
	out := &gestorv1.SecondFactor{Methods: methods, ExpiresAt: timestamppb.New(p.Until())}
	if slices.Contains(methods, gestorv1.FactorKind_FACTOR_KIND_PASSKEY) && s.deps.Passkeys.Possible() == nil {
		if out.PasskeyOptions, p.Passkey, err = s.deps.Passkeys.Ask(user, factors); err != nil {
			return nil, err
		}
	}
	out.Pending, err = auth.SealPending(s.deps.Sealer, p)
	return out, err
}

// methods are a user's second factors and the sorts of them.
func (s *SessionService) methods(ctx context.Context, user gestor.User) ([]gestor.Factor, []gestorv1.FactorKind, error) {
	view := s.deps.Engine.View(gestor.TenantScope(user.TenantID))
	factors, err := view.FactorsByUser(ctx, user.ID)
	if err != nil {
		return nil, nil, err
	}
	codes, err := view.RecoveryCodes(ctx, user.ID)
	if err != nil {
		return nil, nil, err
	}
	var kinds []gestorv1.FactorKind
	for _, f := range factors {
		kinds = append(kinds, factorKinds[f.Kind])
	}
	if len(codes) > 0 {
		kinds = append(kinds, gestorv1.FactorKind_FACTOR_KIND_RECOVERY_CODE)
	}
	slices.Sort(kinds)
	return factors, slices.Compact(kinds), nil
}

// BeginPasskeySession asks whoever it is for a passkey.
func (s *SessionService) BeginPasskeySession(ctx context.Context, _ *gestorv1.BeginPasskeySessionRequest) (*gestorv1.BeginPasskeySessionResponse, error) {
	options, asked, err := s.deps.Passkeys.AskAnybody()
	if err != nil {
		return nil, err
	}
	p := auth.Pending{Purpose: auth.PendingPasskeySignIn, Network: networkOf(ctx), At: s.deps.Now(), Passkey: asked}
	pending, err := auth.SealPending(s.deps.Sealer, p)
	return &gestorv1.BeginPasskeySessionResponse{Pending: pending, PasskeyOptions: options}, err
}

// CompleteSession checks the second step and signs in.
func (s *SessionService) CompleteSession(ctx context.Context, req *gestorv1.CompleteSessionRequest) (*gestorv1.CompleteSessionResponse, error) {
	network := networkOf(ctx)
	if wait := s.deps.Networks.Take(network); wait > 0 {
		return nil, tooMany(wait)
	}
	user, op, err := s.complete(ctx, req, network)
	if err != nil {
		return nil, err
	}
	var token string
	op.Session, token = newSession(user, s.deps.Now())
	op.Network, op.Session.SecondFactor = network, true
	session, err := openSession(ctx, s.deps.Engine, user, op.Session, op)
	if err != nil {
		return nil, err
	}
	s.deps.Codes.Succeeded(string(user.ID))
	s.deps.Networks.Undo(network)
	left, err := s.recoveryLeft(ctx, user, op.Use)
	return &gestorv1.CompleteSessionResponse{Session: session, Token: token, RecoveryCodesLeft: left}, err
}

// complete finds out whose second step it is and checks it.
func (s *SessionService) complete(ctx context.Context, req *gestorv1.CompleteSessionRequest, network string) (gestor.User, command.SignIn, error) {
	var none command.SignIn
	p, err := auth.OpenPending(s.deps.Sealer, auth.PendingSignIn, req.GetPending(), network, s.deps.Now())
	if err != nil && req.GetPasskeyAssertion() != "" {
		return s.completePasskey(ctx, req, network)
	}
	if err != nil {
		return gestor.User{}, none, err
	}
	user, err := s.deps.Engine.View(gestor.SystemScope()).User(ctx, p.User)
	if errors.Is(err, fault.KindNotFound) || err == nil && !slices.Equal(user.Stamp(), p.Stamp) {
		return user, none, fault.Unauthenticated("the password was changed meanwhile").WithFix("sign in again")
	}
	if err != nil {
		return user, none, err
	}
	if err := mayEnter(user); err != nil {
		return user, none, err
	}
	use, err := s.prove(ctx, user, req, p)
	return user, command.SignIn{Stamp: p.Stamp, Use: use}, err
}

func mayEnter(user gestor.User) error {
	if user.Status == gestor.StatusActive {
		return nil
	}
	return fault.Denied("the account is %s", user.Status).WithFix("ask an admin of your tenant")
}

// completePasskey checks a passkey that stands alone. A signature cannot be guessed, so nothing is counted by user.
func (s *SessionService) completePasskey(ctx context.Context, req *gestorv1.CompleteSessionRequest, network string) (gestor.User, command.SignIn, error) {
	p, err := auth.OpenPending(s.deps.Sealer, auth.PendingPasskeySignIn, req.GetPending(), network, s.deps.Now())
	if err != nil {
		return gestor.User{}, command.SignIn{}, err
	}
	user, answer, err := s.deps.Passkeys.AnsweredByAnybody(p.Passkey, req.GetPasskeyAssertion(), func(id gestor.UserID) (gestor.User, []gestor.Factor, error) {
		view := s.deps.Engine.View(gestor.SystemScope())
		user, err := view.User(ctx, id)
		if err != nil {
			return user, nil, err
		}
		factors, err := view.FactorsByUser(ctx, id)
		return user, factors, err
	})
	if err != nil {
		return user, command.SignIn{}, err
	}
	answer.Use.Challenge.Until = p.Until()
	return user, command.SignIn{Use: answer.Use}, mayEnter(user)
}

// recoveryLeft is how many recovery codes are left, if one was used.
func (s *SessionService) recoveryLeft(ctx context.Context, user gestor.User, use gestor.FactorUse) (*int32, error) {
	if len(use.Recovery) == 0 {
		return nil, nil //nolint:nilnil // an absent field of the contract
	}
	codes, err := s.deps.Engine.View(gestor.TenantScope(user.TenantID)).RecoveryCodes(ctx, user.ID)
	return new(int32(len(codes))), err
}
