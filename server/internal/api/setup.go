package api

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// SetupDeps are what the setup service needs; all of it but Claimed.
type SetupDeps struct {
	Engine    Engine
	Passwords *auth.Passwords
	Guesses   *auth.Throttle // by network
	Claimed   func()         // called once the installation is claimed
	Version   string
	Now       func() time.Time
	Log       *slog.Logger
}

// SetupService gives a fresh installation its first tenant and admin.
type SetupService struct{ deps SetupDeps }

var _ gestorv1connect.SetupServiceHandler = (*SetupService)(nil)

// NewSetupService makes the service.
func NewSetupService(d SetupDeps) *SetupService { return &SetupService{deps: d} }

// GetSetup tells whether the installation is claimed.
func (s *SetupService) GetSetup(ctx context.Context, _ *gestorv1.GetSetupRequest) (*gestorv1.GetSetupResponse, error) {
	cluster, err := s.deps.Engine.View(gestor.SystemScope()).Cluster(ctx)
	if err != nil {
		return nil, err
	}
	return &gestorv1.GetSetupResponse{Claimed: cluster.Claimed, ClusterId: string(cluster.ID), Version: s.deps.Version}, nil
}

// Claim makes the first tenant and its admin for whoever shows the secret that the server printed. The secret is compared
// before the password is hashed, so that strangers cost nothing; the state machine compares it again.
func (s *SetupService) Claim(ctx context.Context, req *gestorv1.ClaimRequest) (*gestorv1.ClaimResponse, error) {
	network := auth.Network(requestOf(ctx).address)
	if wait := s.deps.Guesses.Take(network); wait > 0 {
		return nil, tooMany(wait)
	}
	hash := pki.HashSecret(strings.TrimSpace(req.GetSecret()))
	if err := s.check(ctx, hash); err != nil {
		return nil, err
	}
	user, err := s.claim(ctx, hash, req)
	if err != nil {
		return nil, err
	}
	s.deps.Guesses.Succeeded(network)
	if s.deps.Claimed != nil {
		s.deps.Claimed()
	}
	s.deps.Log.Info("installation claimed", "user", user.ID, "tenant", user.TenantID, "address", requestOf(ctx).address)
	session, token := newSession(user, s.deps.Now())
	opened, err := openSession(ctx, s.deps.Engine, user, session, command.CreateSession{Session: session, Network: network})
	if err != nil {
		return nil, fault.Wrap(err, "the installation is yours, but signing in failed")
	}
	return &gestorv1.ClaimResponse{Session: opened, Token: token}, nil
}

func (s *SetupService) check(ctx context.Context, hash []byte) error {
	cluster, err := s.deps.Engine.View(gestor.SystemScope()).Cluster(ctx)
	if err != nil {
		return err
	}
	if cluster.Claimed {
		return fault.Conflict("the installation has been claimed already").WithFix("sign in with `gestor login`")
	}
	if !pki.SameHash(cluster.SetupHash, hash) {
		s.deps.Log.Warn("wrong setup secret", "address", requestOf(ctx).address)
		return fault.Unauthenticated("the setup secret is wrong").WithFix("copy the command the server printed at its start")
	}
	return nil
}

func (s *SetupService) claim(ctx context.Context, hash []byte, req *gestorv1.ClaimRequest) (gestor.User, error) {
	op, err := s.claimIn(ctx, req)
	if err != nil {
		return gestor.User{}, err
	}
	op.SetupHash = hash
	caller, _ := auth.CallerFrom(ctx)
	receipt, err := s.deps.Engine.Propose(ctx, command.Command{At: s.deps.Now(), Actor: caller.Actor, Op: op})
	if err != nil {
		return gestor.User{}, err
	}
	if err := s.deps.Engine.Wait(ctx, receipt.Revision); err != nil {
		return gestor.User{}, err
	}
	return s.deps.Engine.View(gestor.SystemScope()).User(ctx, op.UserID)
}

// claimIn checks what somebody wants to be called and sign in with.
func (s *SetupService) claimIn(ctx context.Context, req *gestorv1.ClaimRequest) (command.Claim, error) {
	op := command.Claim{TenantID: gestor.NewID[gestor.TenantID]("ten"), UserID: gestor.NewID[gestor.UserID]("usr")}
	var err error
	if op.TenantName, err = gestor.CheckTitle("tenant_name", req.GetTenantName()); err != nil {
		return op, err
	}
	if op.Email, err = gestor.CheckEmail("email", req.GetEmail()); err != nil {
		return op, err
	}
	if err := auth.CheckPassword("password", req.GetPassword(), op.Email); err != nil {
		return op, err
	}
	op.PasswordHash, err = s.deps.Passwords.Hash(ctx, req.GetPassword())
	return op, err
}

// normalEmail is the form in which addresses are looked up.
func normalEmail(s string) string { return gestor.FoldEmail(s) }

func tooMany(wait time.Duration) error {
	return fault.Exhausted("too many failed attempts").
		WithRetryAfter(wait).WithFix("wait %s and try again", wait.Round(time.Second))
}
