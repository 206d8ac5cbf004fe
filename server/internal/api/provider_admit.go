package api

import (
	"context"
	"errors"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// AdmitIdentity signs in whom a provider has vouched for: with a session, or with what is asked for besides. The provider's
// answer must have been checked.
func (s *SessionService) AdmitIdentity(ctx context.Context, p gestor.Provider, op command.AdmitIdentity) (*gestorv1.CreateSessionResponse, error) {
	network := networkOf(ctx)
	if wait := s.deps.Networks.Take(network); wait > 0 {
		return nil, tooMany(wait)
	}
	view := s.deps.Engine.View(gestor.SystemScope())
	_, err := view.IdentityBySubject(ctx, p.ID, op.Subject)
	first := errors.Is(err, fault.KindNotFound)
	if err != nil && !first {
		return nil, err
	}
	receipt, err := s.deps.Engine.Propose(ctx, command.Command{At: s.deps.Now(), Actor: providerActor(ctx, p, first), Op: op})
	if err != nil {
		return nil, err
	}
	if err := s.deps.Engine.Wait(ctx, receipt.Revision); err != nil {
		return nil, err
	}
	s.deps.Networks.Undo(network)
	user, err := view.User(ctx, gestor.UserID(receipt.Object))
	if err != nil {
		return nil, err
	}
	return s.Admit(ctx, user, p.TrustFactor)
}

// providerActor is the provider that vouches for somebody. Only the first time is worth an entry of its own in the audit log:
// the session that follows has one.
func providerActor(ctx context.Context, p gestor.Provider, first bool) gestor.Actor {
	req := requestOf(ctx)
	a := gestor.Actor{
		Kind: "provider", ID: string(p.ID), Name: p.Name, TenantID: p.TenantID, Address: req.address, UserAgent: req.userAgent, Reference: req.reference,
	}
	if first {
		a.Action = "identity.link"
	}
	return a
}
