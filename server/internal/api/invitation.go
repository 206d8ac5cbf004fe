package api

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/limit"
	"github.com/saas-gestor/gestor/server/internal/mail"
)

// InvitationDeps are what the invitation service needs; all of it but Barrier.
type InvitationDeps struct {
	Engine    Engine
	Links     Links
	Mail      mail.Sender
	Passwords *auth.Passwords
	Guesses   *auth.Throttle                  // by network
	Barrier   func(ctx context.Context) error // returns once this server has all that was committed before
	Now       func() time.Time
	Log       *slog.Logger
}

// InvitationService lets people in.
type InvitationService struct {
	deps  InvitationDeps
	mails *limit.Rates
}

var _ gestorv1connect.InvitationServiceHandler = (*InvitationService)(nil)

// NewInvitationService makes the service.
func NewInvitationService(d InvitationDeps) *InvitationService {
	return &InvitationService{deps: d, mails: posting(d.Now)}
}

// CreateInvitation invites a person into the caller's tenant.
func (s *InvitationService) CreateInvitation(ctx context.Context, req *gestorv1.CreateInvitationRequest) (*gestorv1.CreateInvitationResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	i := gestor.Invitation{TenantID: r.caller.Tenant, Role: roleIn(req.GetRole()), Operator: req.GetOperator()}
	if i.Email, err = gestor.CheckEmail("email", req.GetEmail()); err != nil {
		return nil, err
	}
	if i.Narrow, err = r.narrowingIn(ctx, "narrow", req.GetNarrow()); err != nil {
		return nil, err
	}
	if err := r.mayGrant(i.Role, i.Operator); err != nil {
		return nil, err
	}
	d, err := s.delivery(r, req.GetTtl(), req.GetShowLink())
	if err != nil {
		return nil, err
	}
	out, link, err := s.create(ctx, r, req.GetRequestId(), i, d)
	return &gestorv1.CreateInvitationResponse{Invitation: out, Link: link}, err
}

// InviteAdministrator invites the first administrator of a tenant.
func (s *InvitationService) InviteAdministrator(ctx context.Context, req *gestorv1.InviteAdministratorRequest) (*gestorv1.InviteAdministratorResponse, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	tenant, err := r.view.Tenant(ctx, gestor.TenantID(req.GetTenantId()))
	if err != nil {
		return nil, absent(err, "tenant", req.GetTenantId())
	}
	email, err := gestor.CheckEmail("email", req.GetEmail())
	if err != nil {
		return nil, err
	}
	if err := r.mayGrant(gestor.RoleAdmin, false); err != nil {
		return nil, err
	}
	d, err := s.delivery(r, req.GetTtl(), req.GetShowLink())
	if err != nil {
		return nil, err
	}
	i := gestor.Invitation{TenantID: tenant.ID, Role: gestor.RoleAdmin, Email: email}
	out, link, err := s.create(ctx, r, req.GetRequestId(), i, d)
	return &gestorv1.InviteAdministratorResponse{Invitation: out, Link: link}, err
}

// delivery is how an invitation reaches the invited, and until when it can be accepted.
type delivery struct {
	ends   time.Time
	mailed bool
}

func (s *InvitationService) delivery(r reach, ttl *durationpb.Duration, show bool) (delivery, error) {
	span, err := spanIn("ttl", ttl)
	switch {
	case err != nil:
		return delivery{}, err
	case ttl == nil:
		span = gestor.InvitationTime
	case span < time.Minute || span > gestor.MostInvitationTime:
		return delivery{}, fault.Invalid("ttl", "%s is not between a minute and 30 days", span).WithFix("leave it out for 7 days")
	}
	d := delivery{ends: s.deps.Now().Add(span), mailed: s.deps.Mail.Configured() && !show}
	if d.mailed {
		return d, mayPost(s.mails, r.caller.Tenant)
	}
	return d, nil
}

// create makes an invitation. A repeated request makes a new link: the one of the answer that was lost is worth nothing.
func (s *InvitationService) create(ctx context.Context, r reach, requestID string, i gestor.Invitation, d delivery) (*gestorv1.Invitation, *gestorv1.InvitationLink, error) {
	secret, hash := auth.NewInvitation()
	i.ID, i.SecretHash = gestor.NewID[gestor.InvitationID]("inv"), hash
	i.ExpiresAt, i.Mailed = d.ends, d.mailed
	receipt, err := r.propose(ctx, requestID, command.CreateInvitation{Invitation: i})
	if err != nil {
		return nil, nil, err
	}
	if made := gestor.InvitationID(receipt.Object); made != i.ID {
		return s.renew(ctx, r, "", made, d)
	}
	return s.deliver(ctx, r, i.ID, secret, d)
}

// renew gives an invitation another link.
func (s *InvitationService) renew(
	ctx context.Context, r reach, requestID string, id gestor.InvitationID, d delivery,
) (*gestorv1.Invitation, *gestorv1.InvitationLink, error) {
	secret, hash := auth.NewInvitation()
	op := command.RenewInvitation{ID: id, SecretHash: hash, ExpiresAt: d.ends, Mailed: d.mailed}
	if _, err := r.propose(ctx, requestID, op); err != nil {
		return nil, nil, err
	}
	return s.deliver(ctx, r, id, secret, d)
}

// deliver sends the link, or shows it. A link that could not be sent is replaced by one to show: who has seen it has not
// proven that the address is theirs.
func (s *InvitationService) deliver(
	ctx context.Context, r reach, id gestor.InvitationID, secret string, d delivery,
) (*gestorv1.Invitation, *gestorv1.InvitationLink, error) {
	i, err := r.view.Invitation(ctx, id)
	if err != nil {
		return nil, nil, absent(err, "invitation", string(id))
	}
	address := s.deps.Links.invite(secret)
	if !i.Mailed {
		return r.invitationOut(ctx, i), &gestorv1.InvitationLink{Link: address}, nil
	}
	tenant, err := s.deps.Engine.View(gestor.TenantScope(i.TenantID)).Tenant(ctx, i.TenantID)
	if err != nil {
		return nil, nil, err
	}
	failure := send(ctx, s.deps.Mail, invitationMail(i, tenant.Name, address))
	if failure == nil {
		return r.invitationOut(ctx, i), &gestorv1.InvitationLink{}, nil
	}
	s.deps.Log.Warn("invitation not sent", "invitation", i.ID, "err", failure)
	d.mailed = false
	out, link, err := s.renew(ctx, r, "", id, d)
	if err == nil {
		link.Notice = notSent(i.Email, failure)
	}
	return out, link, err
}

// ListInvitations lists the tenant's invitations by address.
func (s *InvitationService) ListInvitations(ctx context.Context, req *gestorv1.ListInvitationsRequest) (*gestorv1.ListInvitationsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	all, next, err := r.view.Invitations(ctx, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	out := make([]*gestorv1.Invitation, len(all))
	for n, i := range all {
		out[n] = r.invitationOut(ctx, i)
	}
	return &gestorv1.ListInvitationsResponse{Invitations: out, Page: pageOut(next)}, nil
}

// invitation finds an invitation to the tenant by id or address.
func (r reach) invitation(ctx context.Context, ref string) (gestor.Invitation, error) {
	if !strings.Contains(ref, "@") {
		i, err := r.view.Invitation(ctx, gestor.InvitationID(ref))
		return i, absent(err, "invitation", ref)
	}
	i, err := r.view.InvitationByEmail(ctx, r.caller.Tenant, gestor.FoldEmail(ref))
	return i, absent(err, "invitation", ref)
}

// RevokeInvitation takes an invitation back.
func (s *InvitationService) RevokeInvitation(ctx context.Context, req *gestorv1.RevokeInvitationRequest) (*gestorv1.RevokeInvitationResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	i, err := r.invitation(ctx, req.GetInvitation())
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.RevokeInvitation{ID: i.ID})
	return &gestorv1.RevokeInvitationResponse{}, err
}

// ResendInvitation makes a new link.
func (s *InvitationService) ResendInvitation(ctx context.Context, req *gestorv1.ResendInvitationRequest) (*gestorv1.ResendInvitationResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	i, err := r.invitation(ctx, req.GetInvitation())
	if err != nil {
		return nil, err
	}
	if err := r.mayGrant(i.Role, i.Operator); err != nil {
		return nil, err
	}
	d, err := s.delivery(r, req.GetTtl(), req.GetShowLink())
	if err != nil {
		return nil, err
	}
	// Not under the request's id: the link of an answer that was lost cannot be shown again, so a repeated call makes another.
	out, link, err := s.renew(ctx, r, "", i.ID, d)
	return &gestorv1.ResendInvitationResponse{Invitation: out, Link: link}, err
}

// AcceptInvitation makes the invited person a user. The secret is looked up before the password is hashed, so that strangers
// cost nothing; the state machine looks again.
func (s *InvitationService) AcceptInvitation(ctx context.Context, req *gestorv1.AcceptInvitationRequest) (*gestorv1.AcceptInvitationResponse, error) {
	network := auth.Network(requestOf(ctx).address)
	if wait := s.deps.Guesses.Take(network); wait > 0 {
		return nil, tooMany(wait)
	}
	i, err := s.invited(ctx, req.GetSecret())
	if err != nil {
		return nil, err
	}
	s.deps.Guesses.Undo(network) // it was no guess, whatever comes of it
	op, err := s.accept(ctx, i, req)
	if err != nil {
		return nil, err
	}
	caller, _ := auth.CallerFrom(ctx)
	receipt, err := s.deps.Engine.Propose(ctx, command.Command{At: s.deps.Now(), Actor: caller.Actor, Op: op})
	if err != nil {
		return nil, err
	}
	if err := s.deps.Engine.Wait(ctx, receipt.Revision); err != nil {
		return nil, err
	}
	s.deps.Log.Info("invitation accepted", "user", op.UserID, "tenant", i.TenantID, "address", requestOf(ctx).address)
	tenant, err := s.deps.Engine.View(gestor.TenantScope(i.TenantID)).Tenant(ctx, i.TenantID)
	return &gestorv1.AcceptInvitationResponse{Email: i.Email, TenantName: tenant.Name}, err
}

func (s *InvitationService) accept(ctx context.Context, i gestor.Invitation, req *gestorv1.AcceptInvitationRequest) (command.AcceptInvitation, error) {
	op := command.AcceptInvitation{SecretHash: i.SecretHash, UserID: gestor.NewID[gestor.UserID]("usr")}
	var err error
	if op.Name, err = nameIn(req.GetName()); err != nil {
		return op, err
	}
	if err := auth.CheckPassword("password", req.GetPassword(), i.Email); err != nil {
		return op, err
	}
	op.PasswordHash, err = s.deps.Passwords.Hash(ctx, req.GetPassword())
	return op, err
}

// invited finds the invitation of a secret. One that is not known here may only not have arrived yet.
func (s *InvitationService) invited(ctx context.Context, secret string) (gestor.Invitation, error) {
	hash, ok := auth.HashInvitation(strings.TrimSpace(secret))
	if !ok {
		return gestor.Invitation{}, badLink()
	}
	view := s.deps.Engine.View(gestor.SystemScope())
	i, err := view.InvitationBySecret(ctx, hash)
	if errors.Is(err, fault.KindNotFound) && s.deps.Barrier != nil {
		if err := s.deps.Barrier(ctx); err != nil {
			return i, err
		}
		i, err = view.InvitationBySecret(ctx, hash)
	}
	if errors.Is(err, fault.KindNotFound) || err == nil && !s.deps.Now().Before(i.ExpiresAt) {
		return gestor.Invitation{}, badLink()
	}
	return i, err
}
