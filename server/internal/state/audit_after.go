package state

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// AuditAfter are up to limit entries of the audit log behind the one numbered seq, the oldest first.
func (v *View) AuditAfter(ctx context.Context, seq int64, limit int) ([]gestor.AuditEntry, error) {
	return many(ctx, v, audit, " AND seq > ? ORDER BY seq LIMIT ?", seq, limit)
}
