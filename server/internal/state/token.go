package state

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var tokens = newTable(Tokens, "tokens", []string{"id"}, func(t *gestor.Token) []column {
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

// PutToken writes a token.
func (x *Txn) PutToken(ctx context.Context, t gestor.Token) error {
	t.Revision = x.Revision
	return tokens.save(ctx, x, &t)
}

// DeleteToken removes a token, if it is there.
func (x *Txn) DeleteToken(ctx context.Context, id gestor.TokenID) error {
	x.touch(Tokens)
	return x.exec(ctx, "DELETE FROM tokens WHERE id = ?", string(id))
}
