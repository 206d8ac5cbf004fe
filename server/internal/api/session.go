package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// sessionLifetime is how long a sign-in is good for.
const sessionLifetime = 7 * 24 * time.Hour

// SessionDeps are what the session service needs; all of it.
type SessionDeps struct {
	Engine    Engine
	Passwords *auth.Passwords
	Accounts  *auth.Throttle // by address of e-mail
	Networks  *auth.Throttle // by network, more patient: one network may be a whole office
	Now       func() time.Time
	Log       *slog.Logger
}

// SessionService signs people in and out.
type SessionService struct {
	gestorv1connect.UnimplementedSessionServiceHandler

	deps SessionDeps
}

var _ gestorv1connect.SessionServiceHandler = (*SessionService)(nil)

// NewSessionService makes the service.
func NewSessionService(d SessionDeps) *SessionService { return &SessionService{deps: d} }

// CreateSession signs in. A user that does not exist gets the same answer after the same work as a wrong password.
func (s *SessionService) CreateSession(ctx context.Context, req *gestorv1.CreateSessionRequest) (*gestorv1.CreateSessionResponse, error) {
	email, network := normalEmail(req.GetEmail()), auth.Network(requestOf(ctx).address)
	if wait := s.take(email, network); wait > 0 {
		return nil, tooMany(wait)
	}
	user, err := s.verify(ctx, email, req.GetPassword())
	if err != nil {
		return nil, err
	}
	s.deps.Accounts.Succeeded(email)
	s.deps.Networks.Undo(network)
	opened, err := openSession(ctx, s.deps.Engine, user, s.deps.Now())
	if err != nil {
		return nil, err
	}
	return &gestorv1.CreateSessionResponse{Session: opened.session, Token: opened.token}, nil
}

// take asks both brakes. An account that is under attack must not be locked for its owner's network as well, so the
// network is asked first and an attempt the account refuses counts for the network.
func (s *SessionService) take(email, network string) time.Duration {
	if wait := s.deps.Networks.Take(network); wait > 0 {
		return wait
	}
	return s.deps.Accounts.Take(email)
}

func (s *SessionService) verify(ctx context.Context, email, password string) (gestor.User, error) {
	user, err := s.deps.Engine.View(gestor.SystemScope()).UserByEmail(ctx, email)
	if err != nil && !errors.Is(err, fault.KindNotFound) {
		return gestor.User{}, err
	}
	ok, err := s.deps.Passwords.Verify(ctx, user.PasswordHash, password)
	if err != nil {
		return gestor.User{}, err
	}
	if !ok {
		s.deps.Log.Warn("sign-in refused", "address", requestOf(ctx).address, "known", user.ID != "")
		return gestor.User{}, fault.Unauthenticated("the e-mail address or the password is wrong")
	}
	if user.Status != gestor.StatusActive {
		return gestor.User{}, fault.Denied("the account is %s", user.Status).WithFix("ask an admin of your tenant")
	}
	return user, nil
}

// GetSession tells who the caller is and what they may do.
func (s *SessionService) GetSession(ctx context.Context, _ *gestorv1.GetSessionRequest) (*gestorv1.GetSessionResponse, error) {
	caller, _ := auth.CallerFrom(ctx)
	out, err := sessionOut(ctx, s.deps.Engine, caller.User, caller.Session)
	if err != nil {
		return nil, err
	}
	return &gestorv1.GetSessionResponse{Session: out, Permissions: caller.Permissions()}, nil
}

// DeleteSession signs the caller's session out.
func (s *SessionService) DeleteSession(ctx context.Context, _ *gestorv1.DeleteSessionRequest) (*gestorv1.DeleteSessionResponse, error) {
	caller, _ := auth.CallerFrom(ctx)
	op := command.DeleteSession{ID: caller.Session.ID}
	receipt, err := s.deps.Engine.Propose(ctx, command.Command{At: s.deps.Now(), Actor: caller.Actor, Op: op})
	if err != nil {
		return nil, err
	}
	return &gestorv1.DeleteSessionResponse{}, s.deps.Engine.Wait(ctx, receipt.Revision)
}

type opened struct {
	session *gestorv1.Session
	token   string
}

// openSession makes a session for a user who has proven who they are. The session is in the user's own name.
func openSession(ctx context.Context, e Engine, user gestor.User, now time.Time) (opened, error) {
	token, hash := auth.NewBearer()
	session := gestor.Session{
		ID: gestor.NewID[gestor.SessionID]("ses"), UserID: user.ID, TenantID: user.TenantID,
		TokenHash: hash, CreatedAt: now, ExpiresAt: now.Add(sessionLifetime),
	}
	req := requestOf(ctx)
	by := gestor.Actor{
		Kind: "user", ID: string(user.ID), Name: user.Email, TenantID: user.TenantID, SessionID: session.ID,
		Address: req.address, UserAgent: req.userAgent, Action: "session.create",
	}
	receipt, err := e.Propose(ctx, command.Command{At: now, Actor: by, Op: command.CreateSession{Session: session}})
	if err != nil {
		return opened{}, err
	}
	if err := e.Wait(ctx, receipt.Revision); err != nil {
		return opened{}, err
	}
	out, err := sessionOut(ctx, e, user, session)
	return opened{session: out, token: token}, err
}

func sessionOut(ctx context.Context, e Engine, user gestor.User, session gestor.Session) (*gestorv1.Session, error) {
	tenant, err := e.View(gestor.TenantScope(user.TenantID)).Tenant(ctx, user.TenantID)
	if err != nil {
		return nil, err
	}
	return &gestorv1.Session{
		Id:         string(session.ID),
		UserId:     string(user.ID),
		Email:      user.Email,
		Role:       roles[user.Role],
		TenantId:   string(tenant.ID),
		TenantName: tenant.Name,
		ExpiresAt:  timestamppb.New(session.ExpiresAt),
	}, nil
}

var roles = map[gestor.Role]gestorv1.Role{
	gestor.RoleAdmin:     gestorv1.Role_ROLE_ADMIN,
	gestor.RoleDevOps:    gestorv1.Role_ROLE_DEVOPS,
	gestor.RoleDeveloper: gestorv1.Role_ROLE_DEVELOPER,
	gestor.RoleViewer:    gestorv1.Role_ROLE_VIEWER,
}
