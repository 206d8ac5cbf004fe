package state

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var factors = newTableOf(levelPeople, Factors, "factors", []string{"id"}, func(f *gestor.Factor) []column {
	return []column{
		{"id", &f.ID},
		{"tenant_id", &f.TenantID},
		{"user_id", &f.UserID},
		{"kind", &f.Kind},
		{"name", &f.Name},
		{"created_at", &f.CreatedAt},
		{"seen_at", &f.SeenAt},
		{"secret", &f.Secret},
		{"step", &f.Step},
		{"credential_id", &f.CredentialID},
		{"credential", &f.Credential},
		{"sign_count", &f.SignCount},
		{"challenges_json", &f.Challenges},
		{"revision", &f.Revision},
	}
})

// Factor is a second factor.
func (v *View) Factor(ctx context.Context, id gestor.FactorID) (gestor.Factor, error) {
	return one(ctx, v, factors, "second factor", " AND id = ?", string(id))
}

// FactorByCredential is the passkey with a credential id.
func (v *View) FactorByCredential(ctx context.Context, credential []byte) (gestor.Factor, error) {
	return one(ctx, v, factors, "passkey", " AND credential_id = ? AND kind = 'passkey'", credential)
}

// FactorsByUser are the second factors of a user, the oldest first. A state that does not know second factors has none.
func (v *View) FactorsByUser(ctx context.Context, id gestor.UserID) ([]gestor.Factor, error) {
	if v.from.level() < levelPeople {
		return nil, nil
	}
	return many(ctx, v, factors, " AND user_id = ? ORDER BY created_at, id", string(id))
}

// PutFactor writes a second factor.
func (x *Txn) PutFactor(ctx context.Context, f gestor.Factor) error {
	f.Revision = x.Revision
	return factors.save(ctx, x, &f)
}

// DeleteFactor removes a second factor, if it is there.
func (x *Txn) DeleteFactor(ctx context.Context, id gestor.FactorID) error {
	x.touch(Factors)
	return x.exec(ctx, "DELETE FROM factors WHERE id = ?", string(id))
}

// DeleteFactors removes all second factors and recovery codes of a user.
func (x *Txn) DeleteFactors(ctx context.Context, id gestor.UserID) error {
	x.touch(Factors)
	if err := x.exec(ctx, "DELETE FROM factors WHERE user_id = ?", string(id)); err != nil {
		return err
	}
	return x.exec(ctx, "DELETE FROM recovery_codes WHERE user_id = ?", string(id))
}

var recoveryCodes = newTableOf(levelPeople, Factors, "recovery_codes", []string{"user_id", "hash"}, func(r *gestor.RecoveryCode) []column {
	return []column{
		{"user_id", &r.UserID},
		{"hash", &r.Hash},
		{"tenant_id", &r.TenantID},
		{"revision", &r.Revision},
	}
})

// SetRecoveryCodes gives a user other recovery codes, by their SHA-256.
func (x *Txn) SetRecoveryCodes(ctx context.Context, u gestor.User, hashes [][]byte) error {
	x.touch(Factors)
	if err := x.exec(ctx, "DELETE FROM recovery_codes WHERE user_id = ?", string(u.ID)); err != nil {
		return err
	}
	for _, hash := range hashes {
		if err := recoveryCodes.save(ctx, x, &gestor.RecoveryCode{UserID: u.ID, TenantID: u.TenantID, Hash: hash, Revision: x.Revision}); err != nil {
			return err
		}
	}
	return nil
}

// DeleteRecoveryCode removes a recovery code, if it is there.
func (x *Txn) DeleteRecoveryCode(ctx context.Context, id gestor.UserID, hash []byte) error {
	x.touch(Factors)
	return x.exec(ctx, "DELETE FROM recovery_codes WHERE user_id = ? AND hash = ?", string(id), hash)
}

// RecoveryCodes are the recovery codes that a user has left.
func (v *View) RecoveryCodes(ctx context.Context, id gestor.UserID) ([]gestor.RecoveryCode, error) {
	if v.from.level() < levelPeople {
		return nil, nil
	}
	return many(ctx, v, recoveryCodes, " AND user_id = ? ORDER BY hash", string(id))
}
