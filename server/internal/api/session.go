package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/limit"
)

// sessionLifetime is how long a sign-in is good for.
const sessionLifetime = 7 * 24 * time.Hour

// SessionDeps are what the session service needs; all of it.
type SessionDeps struct {
	Engine    Engine
	Passwords *auth.Passwords
	Passkeys  auth.Passkeys
	Sealer    auth.Sealer
	Accounts  *auth.Throttle // by address of e-mail
	Networks  *auth.Throttle // by network, more patient: one network may be a whole office
	Codes     *auth.Throttle // by user: second factors, over all sign-ins that are under way; six digits must not be guessed
	Attempts  Attempts       // is told of sign-ins that failed; may be nil
	Now       func() time.Time
	Log       *slog.Logger
}

// SessionService signs people in and out.
type SessionService struct {
	deps     SessionDeps
	checking *limit.Counts // passwords of strangers, by network
}

// The most passwords of strangers that are checked or wait for that at once. Checks are slow on purpose, and few at a time: more
// that wait would take the places of all other calls that change something.
const mostCheckingOfOne, mostChecking = 16, 64

var _ gestorv1connect.SessionServiceHandler = (*SessionService)(nil)

// NewSessionService makes the service.
func NewSessionService(d SessionDeps) *SessionService {
	if d.Attempts == nil {
		d.Attempts = noAttempts{}
	}
	return &SessionService{deps: d, checking: &limit.Counts{Most: mostCheckingOfOne, MostAll: mostChecking}}
}

// CreateSession signs in. A user that does not exist gets the same answer after the same work as a wrong password; that a
// second factor is asked for only shows after a right one.
func (s *SessionService) CreateSession(ctx context.Context, req *gestorv1.CreateSessionRequest) (*gestorv1.CreateSessionResponse, error) {
	email, network := normalEmail(req.GetEmail()), networkOf(ctx)
	leave, ok := s.checking.Enter(network)
	if !ok {
		return nil, fault.Exhausted("too many people sign in at once").WithRetryAfter(time.Second).WithFix("try again in a moment").WithNothingDone()
	}
	defer leave()
	if wait := s.take(email, network); wait > 0 {
		s.deps.Attempts.Refused(ctx, signInRefused(ctx, gestor.User{}, whyTooOften))
		return nil, tooMany(wait)
	}
	user, err := s.verify(ctx, email, req.GetPassword())
	if err != nil {
		return nil, err
	}
	leave()
	s.deps.Accounts.Succeeded(email)
	s.deps.Networks.Undo(network)
	return s.Admit(ctx, user, false)
}

// Admit signs in a user whose password was right, or whom another provider has vouched for: with a session, or with what is
// asked for besides. Second says that a second factor was part of it already.
func (s *SessionService) Admit(ctx context.Context, user gestor.User, second bool) (*gestorv1.CreateSessionResponse, error) {
	if user.HasFactor && !second {
		asked, err := s.ask(ctx, user)
		return &gestorv1.CreateSessionResponse{SecondFactor: asked}, err
	}
	session, token := newSession(user, s.deps.Now())
	session.SecondFactor = second
	op := command.CreateSession{Session: session, Network: networkOf(ctx), Stamp: user.Stamp()}
	opened, err := openSession(ctx, s.deps.Engine, user, session, op)
	if err != nil {
		return nil, err
	}
	return &gestorv1.CreateSessionResponse{Session: opened, Token: token}, nil
}

// networkOf is the network a request comes from.
func networkOf(ctx context.Context) string { return auth.Network(requestOf(ctx).address) }

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
		s.deps.Attempts.Refused(ctx, signInRefused(ctx, user, whyPassword))
		return gestor.User{}, fault.Unauthenticated("the e-mail address or the password is wrong")
	}
	if user.Status != gestor.StatusActive {
		s.deps.Attempts.Refused(ctx, signInRefused(ctx, user, whyBlocked))
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
	out.Current = caller.Kind == auth.User
	return &gestorv1.GetSessionResponse{Session: out, Permissions: caller.Permissions(), SecondFactorMissing: caller.SetupOnly}, nil
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

// newSession is a session for a user, and its bearer token.
func newSession(user gestor.User, now time.Time) (session gestor.Session, token string) {
	token, hash := auth.NewBearer()
	return gestor.Session{
		ID: gestor.NewID[gestor.SessionID]("ses"), UserID: user.ID, TenantID: user.TenantID,
		TokenHash: hash, CreatedAt: now, FreshAt: now, SeenAt: now, ExpiresAt: now.Add(sessionLifetime),
	}, token
}

// openSession makes a session for a user who has proven who they are, in the user's own name.
func openSession(ctx context.Context, e Engine, user gestor.User, session gestor.Session, op command.Op) (*gestorv1.Session, error) {
	req := requestOf(ctx)
	by := gestor.Actor{
		Kind: "user", ID: string(user.ID), Name: user.Email, TenantID: user.TenantID, SessionID: session.ID,
		Address: req.address, UserAgent: req.userAgent, Action: "session.create", Reference: req.reference,
	}
	receipt, err := e.Propose(ctx, command.Command{At: session.CreatedAt, Actor: by, Op: op})
	if err != nil {
		return nil, err
	}
	if err := e.Wait(ctx, receipt.Revision); err != nil {
		return nil, err
	}
	session.Address, session.SeenFrom, session.UserAgent = req.address, req.address, req.userAgent
	out, err := sessionOut(ctx, e, user, session)
	if out != nil {
		out.Current = true
	}
	return out, err
}
