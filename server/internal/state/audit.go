package state

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var audit = newTable(Audit, "audit_logs", []string{"seq"}, func(a *gestor.AuditEntry) []column {
	return []column{
		{"seq", &a.Seq},
		{"tenant_id", &a.TenantID},
		{"at", &a.At},
		{"actor_json", &a.Actor},
		{"action", &a.Action},
		{"object", &a.Object},
		{"detail", &a.Detail},
		{"request_id", &a.RequestID},
	}
}).since(levelPeople, func(a *gestor.AuditEntry) []column {
	return []column{
		{"year", &a.Year},
		{"severity", &a.Severity},
		{"outcome", &a.Outcome},
		{"before_json", &a.Before},
		{"after_json", &a.After},
		{"form", &a.Form},
		{"previous", &a.Previous},
		{"hash", &a.Hash},
	}
})

// AuditEntries are the entries of the audit log, the newest first.
func (v *View) AuditEntries(ctx context.Context, page gestor.Page) ([]gestor.AuditEntry, string, error) {
	size := page.Size
	if size <= 0 {
		size = defaultPage
	}
	size = min(size, maxPage)
	rest, args := "", []any{}
	if page.Token != "" {
		after, err := parseCursor(page.Token)
		if err != nil {
			return nil, "", err
		}
		rest, args = " AND seq < ?", []any{after.Number}
	}
	found, err := many(ctx, v, audit, rest+" ORDER BY seq DESC LIMIT ?", append(args, size+1)...)
	if err != nil || len(found) <= size {
		return found, "", err
	}
	return found[:size], cursor{Number: found[size-1].Seq}.token(), nil
}

const takeSeq = `
UPDATE meta
SET next_seq = next_seq + 1
WHERE id = 1
RETURNING next_seq - 1`

// PutAudit adds an entry to the audit log and its chain; Seq, Year, Form and the hashes are given here.
func (x *Txn) PutAudit(ctx context.Context, a gestor.AuditEntry) error {
	var err error
	if a.Seq, err = x.number(ctx, takeSeq); err != nil {
		return err
	}
	if x.AtLeast(levelPeople) {
		if err := x.chain(ctx, &a); err != nil {
			return err
		}
	}
	return audit.save(ctx, x, &a)
}

// chain links an entry to the one before it.
func (x *Txn) chain(ctx context.Context, a *gestor.AuditEntry) error {
	last, err := x.lastAuditYear(ctx)
	if err != nil {
		return err
	}
	a.Form, a.Previous = auditlog.Form, last.Head
	a.Year = max(last.Year, time.Unix(0, nanos(a.At)).UTC().Year())
	line := a.Line()
	if a.Hash, err = line.Sum(a.Previous); err != nil {
		return err
	}
	return x.exec(ctx, putAuditHead, a.Year, a.Seq, a.Seq, append([]byte{}, a.Previous...), a.Hash)
}
