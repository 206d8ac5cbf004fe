package state

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

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
