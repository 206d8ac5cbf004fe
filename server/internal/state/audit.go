package state

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
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

// PutAudit adds an entry; its Seq is given here.
func (x *Txn) PutAudit(ctx context.Context, a gestor.AuditEntry) error {
	var err error
	if a.Seq, err = x.number(ctx, takeSeq); err != nil {
		return err
	}
	return audit.save(ctx, x, &a)
}

// Request is what a command with a request id returned.
type Request struct {
	TenantID gestor.TenantID
	ID       string
	At       time.Time
	Revision uint64
	Object   string
	Refusal  *fault.Error // nil if it was not refused
}

var requests = newTable(0, "request_ids", []string{"tenant_id", "request_id"}, func(r *Request) []column {
	return []column{
		{"tenant_id", &r.TenantID},
		{"request_id", &r.ID},
		{"at", &r.At},
		{"revision", &r.Revision},
		{"object", &r.Object},
		{"fault_json", &r.Refusal},
	}
})

// RequestByID is what a request of a tenant returned, if it was applied before.
func (x *Txn) RequestByID(ctx context.Context, tenant gestor.TenantID, id string) (Request, bool, error) {
	found, err := requests.find(ctx, x, "WHERE tenant_id = ? AND request_id = ?", string(tenant), id)
	if err != nil || len(found) == 0 {
		return Request{}, false, err
	}
	return found[0], true, nil
}

// PutRequest remembers what a request returned.
func (x *Txn) PutRequest(ctx context.Context, r Request) error { return requests.save(ctx, x, &r) }

// PruneRequests forgets requests from before a time.
func (x *Txn) PruneRequests(ctx context.Context, before time.Time) error {
	return x.exec(ctx, "DELETE FROM request_ids WHERE at < ?", nanos(before))
}
