package state

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var auditYears = newTableOf(levelPeople, Audit, "audit_years", []string{"year"}, func(y *gestor.AuditYear) []column {
	return []column{
		{"year", &y.Year},
		{"first_seq", &y.FirstSeq},
		{"last_seq", &y.LastSeq},
		{"entries", &y.Entries},
		{"previous", &y.Previous},
		{"head", &y.Head},
		{"digest", &y.Digest},
		{"bytes", &y.Bytes},
		{"archived_at", &y.ArchivedAt},
	}
})

// AuditYears are the years of the audit log, the oldest first; for the system scope only, and none before level 2.
func (v *View) AuditYears(ctx context.Context) ([]gestor.AuditYear, error) {
	if !v.scope.IsSystem() || v.from.level() < levelPeople {
		return nil, nil
	}
	return auditYears.find(ctx, v.from, "ORDER BY year")
}

// lastAuditYear is the year that goes on; the zero year before the first entry.
func (x *Txn) lastAuditYear(ctx context.Context) (gestor.AuditYear, error) {
	found, err := auditYears.find(ctx, x, "ORDER BY year DESC LIMIT 1")
	if err != nil || len(found) == 0 {
		return gestor.AuditYear{}, err
	}
	return found[0], nil
}

const putAuditHead = `
INSERT INTO audit_years (year, first_seq, last_seq, entries, previous, head, digest, bytes, archived_at)
VALUES (?, ?, ?, 1, ?, ?, '', 0, 0)
ON CONFLICT (year) DO UPDATE SET last_seq = excluded.last_seq, entries = entries + 1, head = excluded.head`

// PutAuditYear writes a year.
func (x *Txn) PutAuditYear(ctx context.Context, y gestor.AuditYear) error {
	return auditYears.save(ctx, x, &y)
}

const dropAudit = `
DELETE FROM audit_logs
WHERE seq IN (SELECT seq FROM audit_logs WHERE seq <= ? ORDER BY seq LIMIT ?)`

// DropAudit removes up to most entries up to a seq, the oldest first.
func (x *Txn) DropAudit(ctx context.Context, upTo int64, most int) error {
	x.touch(Audit)
	return x.exec(ctx, dropAudit, upTo, most)
}
