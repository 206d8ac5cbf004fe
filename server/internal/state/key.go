package state

import (
	"context"
	"errors"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var keys = newTableOf(levelPeople, Keys, "sealing_keys", []string{"id"}, func(k *gestor.SealingKey) []column {
	return []column{
		{"id", &k.ID},
		{"status", &k.Status},
		{"confirmed_json", &k.Confirmed},
		{"created_at", &k.CreatedAt},
		{"sealing_at", &k.SealingAt},
		{"dropped_at", &k.DroppedAt},
		{"revision", &k.Revision},
	}
})

type rotationRow struct {
	gestor.KeyRotation
	id int
}

var rotations = newTableOf(levelPeople, Keys, "key_rotation", []string{"id"}, func(r *rotationRow) []column {
	return []column{
		{"id", &r.id},
		{"phase", &r.Phase},
		{"key_id", &r.KeyID},
		{"started_at", &r.StartedAt},
		{"started_by", &r.StartedBy},
		{"finished_at", &r.FinishedAt},
		{"unreadable", &r.Unreadable},
		{"revision", &r.Revision},
	}
})

// SealingKeys are the keys the installation knows of, the oldest first; for the system scope only. There are none below
// level 2, and none before the first leader has said what it seals with.
func (v *View) SealingKeys(ctx context.Context) ([]gestor.SealingKey, error) {
	if !v.scope.IsSystem() || v.from.level() < levelPeople {
		return nil, nil
	}
	return many(ctx, v, keys, " ORDER BY created_at, id")
}

// SealingKey is a key, for the system scope only.
func (v *View) SealingKey(ctx context.Context, id string) (gestor.SealingKey, error) {
	if !v.scope.IsSystem() {
		return gestor.SealingKey{}, fault.NotFound("there is no such key")
	}
	return one(ctx, v, keys, "key", " AND id = ?", id)
}

// KeyRotation is the last change of the sealing key, for the system scope only; zero if there was none.
func (v *View) KeyRotation(ctx context.Context) (gestor.KeyRotation, error) {
	if !v.scope.IsSystem() || v.from.level() < levelPeople {
		return gestor.KeyRotation{}, nil
	}
	row, err := one(ctx, v, rotations, "rotation", " AND id = 1")
	if errors.Is(err, fault.KindNotFound) {
		return gestor.KeyRotation{}, nil
	}
	return row.KeyRotation, err
}

// PutSealingKey writes a key.
func (x *Txn) PutSealingKey(ctx context.Context, k gestor.SealingKey) error {
	k.Revision = x.Revision
	return keys.save(ctx, x, &k)
}

// PutKeyRotation writes the change of the sealing key.
func (x *Txn) PutKeyRotation(ctx context.Context, r gestor.KeyRotation) error {
	r.Revision = x.Revision
	return rotations.save(ctx, x, &rotationRow{r, 1})
}
