package api

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// ListSessions lists the caller's sessions.
func (s *SessionService) ListSessions(ctx context.Context, _ *gestorv1.ListSessionsRequest) (*gestorv1.ListSessionsResponse, error) {
	caller, err := personOf(ctx)
	if err != nil {
		return nil, err
	}
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	sessions, err := r.sessions(ctx, caller.User, s.deps.Now())
	return &gestorv1.ListSessionsResponse{Sessions: sessions}, err
}

// sessions are those of a user that have not ended.
func (r reach) sessions(ctx context.Context, user gestor.User, now time.Time) ([]*gestorv1.Session, error) {
	tenant, err := r.view.Tenant(ctx, user.TenantID)
	if err != nil {
		return nil, err
	}
	all, err := r.view.SessionsByUser(ctx, user.ID)
	var out []*gestorv1.Session
	for _, one := range all {
		if auth.SessionEnded(one, now) {
			continue
		}
		converted := convertSession(tenant, user, one)
		converted.Current = one.ID == r.caller.Session.ID
		out = append(out, converted)
	}
	return out, err
}

// RevokeSession ends one of the caller's sessions.
func (s *SessionService) RevokeSession(ctx context.Context, req *gestorv1.RevokeSessionRequest) (*gestorv1.RevokeSessionResponse, error) {
	caller, err := personOf(ctx)
	if err != nil {
		return nil, err
	}
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	return &gestorv1.RevokeSessionResponse{}, r.revoke(ctx, req.GetRequestId(), caller.User, req.GetSessionId())
}

// revoke ends a session of a user.
func (r reach) revoke(ctx context.Context, requestID string, user gestor.User, ref string) error {
	session, err := r.view.Session(ctx, gestor.SessionID(ref))
	if err == nil && session.UserID != user.ID {
		err = fault.KindNotFound
	}
	if err := absent(err, "session", ref); err != nil {
		return err
	}
	_, err = r.propose(ctx, requestID, command.DeleteSession{ID: session.ID})
	return err
}

// RevokeOtherSessions signs the caller out everywhere else.
func (s *SessionService) RevokeOtherSessions(ctx context.Context, req *gestorv1.RevokeOtherSessionsRequest) (*gestorv1.RevokeOtherSessionsResponse, error) {
	caller, err := personOf(ctx)
	if err != nil {
		return nil, err
	}
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.EndSessions{UserID: caller.User.ID, Except: caller.Session.ID})
	return &gestorv1.RevokeOtherSessionsResponse{}, err
}

// ListUserSessions lists a person's sessions.
func (s *SessionService) ListUserSessions(ctx context.Context, req *gestorv1.ListUserSessionsRequest) (*gestorv1.ListUserSessionsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	user, err := r.user(ctx, req.GetUser())
	if err != nil {
		return nil, err
	}
	sessions, err := r.sessions(ctx, user, s.deps.Now())
	return &gestorv1.ListUserSessionsResponse{Sessions: sessions}, err
}

// RevokeUserSessions ends a person's sessions, or one of them.
func (s *SessionService) RevokeUserSessions(ctx context.Context, req *gestorv1.RevokeUserSessionsRequest) (*gestorv1.RevokeUserSessionsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	user, err := r.user(ctx, req.GetUser())
	if err != nil {
		return nil, err
	}
	if req.GetSessionId() != "" {
		return &gestorv1.RevokeUserSessionsResponse{}, r.revoke(ctx, req.GetRequestId(), user, req.GetSessionId())
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.EndSessions{UserID: user.ID})
	return &gestorv1.RevokeUserSessionsResponse{}, err
}
