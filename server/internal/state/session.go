package state

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

type sessionRow struct {
	gestor.Session
	revision uint64
}

var sessions = newTable(Sessions, "sessions", []string{"id"}, func(s *sessionRow) []column {
	return []column{
		{"id", &s.ID},
		{"tenant_id", &s.TenantID},
		{"user_id", &s.UserID},
		{"token_hash", &s.TokenHash},
		{"created_at", &s.CreatedAt},
		{"expires_at", &s.ExpiresAt},
		{"revision", &s.revision},
	}
}).since(levelPeople, func(s *sessionRow) []column {
	return []column{
		{"fresh_at", &s.FreshAt},
		{"seen_at", &s.SeenAt},
		{"second_factor", &s.SecondFactor},
		{"address", &s.Address},
		{"user_agent", &s.UserAgent},
	}
})

// Session is a session, expired or not.
func (v *View) Session(ctx context.Context, id gestor.SessionID) (gestor.Session, error) {
	s, err := one(ctx, v, sessions, "session", " AND id = ?", string(id))
	return s.Session, err
}

// SessionByTokenHash is the session of a bearer token, by its SHA-256, expired or not.
func (v *View) SessionByTokenHash(ctx context.Context, hash []byte) (gestor.Session, error) {
	s, err := one(ctx, v, sessions, "session", " AND token_hash = ?", hash)
	return s.Session, err
}

// PutSession writes a session.
func (x *Txn) PutSession(ctx context.Context, s gestor.Session) error {
	return sessions.save(ctx, x, &sessionRow{s, x.Revision})
}

// DeleteSession removes a session, if it is there.
func (x *Txn) DeleteSession(ctx context.Context, id gestor.SessionID) error {
	x.touch(Sessions)
	return x.exec(ctx, "DELETE FROM sessions WHERE id = ?", string(id))
}

// PruneSessions removes sessions that ended before a time.
func (x *Txn) PruneSessions(ctx context.Context, before time.Time) error {
	x.touch(Sessions)
	return x.exec(ctx, "DELETE FROM sessions WHERE expires_at < ?", nanos(before))
}
