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
		{"seen_from", &s.SeenFrom},
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

// SessionsByUser are the sessions of a user, expired or not, the newest first.
func (v *View) SessionsByUser(ctx context.Context, id gestor.UserID) ([]gestor.Session, error) {
	rows, err := many(ctx, v, sessions, " AND user_id = ? ORDER BY created_at DESC, id", string(id))
	out := make([]gestor.Session, len(rows))
	for i, r := range rows {
		out[i] = r.Session
	}
	return out, err
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

// PruneIdleSessions removes sessions that were last used before a time.
func (x *Txn) PruneIdleSessions(ctx context.Context, before time.Time) error {
	x.touch(Sessions)
	return x.exec(ctx, "DELETE FROM sessions WHERE seen_at <> 0 AND seen_at < ?", nanos(before))
}

const (
	touchSession = `
UPDATE sessions
SET seen_at = ?, seen_from = ?
WHERE id = ? AND seen_at < ?`
	touchMachine = `
UPDATE tokens
SET seen_at = ?, seen_from = ?
WHERE id = ? AND seen_at < ?`
)

// Touch notes the use of a session or token, if it is there and was not used later.
func (x *Txn) Touch(ctx context.Context, t gestor.Touch) error {
	if t.Session != "" {
		x.touch(Sessions)
		return x.exec(ctx, touchSession, nanos(t.At), t.From, string(t.Session), nanos(t.At))
	}
	x.touch(Tokens)
	return x.exec(ctx, touchMachine, nanos(t.At), t.From, string(t.Token), nanos(t.At))
}
