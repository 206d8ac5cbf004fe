package state

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var tokens = newTableOf(levelPeople, Tokens, "tokens", []string{"id"}, func(t *gestor.Token) []column {
	return []column{
		{"id", &t.ID},
		{"tenant_id", &t.TenantID},
		{"kind", &t.Kind},
		{"name", &t.Name},
		{"user_id", &t.UserID},
		{"role", &t.Role},
		{"permissions_json", &t.Permissions},
		{"narrow_json", &t.Narrow},
		{"hash", &t.Hash},
		{"created_at", &t.CreatedAt},
		{"expires_at", &t.ExpiresAt},
		{"seen_at", &t.SeenAt},
		{"seen_from", &t.SeenFrom},
		{"revision", &t.Revision},
	}
})

// Token is a token, expired or not.
func (v *View) Token(ctx context.Context, id gestor.TokenID) (gestor.Token, error) {
	return one(ctx, v, tokens, "token", " AND id = ?", string(id))
}

// TokenByHash is the token of a secret, by its SHA-256, expired or not.
func (v *View) TokenByHash(ctx context.Context, hash []byte) (gestor.Token, error) {
	return one(ctx, v, tokens, "token", " AND hash = ?", hash)
}

// TokensByUser are the personal tokens of a user, the newest first.
func (v *View) TokensByUser(ctx context.Context, user gestor.UserID) ([]gestor.Token, error) {
	return many(ctx, v, tokens, " AND user_id = ? AND kind = 'personal' ORDER BY created_at DESC, id DESC", string(user))
}

// ServiceTokens are the service tokens, the newest first.
func (v *View) ServiceTokens(ctx context.Context) ([]gestor.Token, error) {
	return many(ctx, v, tokens, " AND kind = 'service' ORDER BY created_at DESC, id DESC")
}

var tokensByAge = order[gestor.Token]{by: "created_at", desc: true, key: func(t gestor.Token) cursor {
	return cursor{Number: nanos(t.CreatedAt), ID: string(t.ID)}
}}

// Tokens are all tokens, the newest first.
func (v *View) Tokens(ctx context.Context, page gestor.Page) ([]gestor.Token, string, error) {
	return list(ctx, v, tokens, tokensByAge, page, "")
}

// PutToken writes a token.
func (x *Txn) PutToken(ctx context.Context, t gestor.Token) error {
	t.Revision = x.Revision
	return tokens.save(ctx, x, &t)
}

// PruneTokens removes tokens that ended before a time.
func (x *Txn) PruneTokens(ctx context.Context, before time.Time) error {
	x.touch(Tokens)
	return x.exec(ctx, "DELETE FROM tokens WHERE expires_at <> 0 AND expires_at < ?", nanos(before))
}

// DeleteToken removes a token, if it is there.
func (x *Txn) DeleteToken(ctx context.Context, id gestor.TokenID) error {
	x.touch(Tokens)
	return x.exec(ctx, "DELETE FROM tokens WHERE id = ?", string(id))
}
