package gestor

import "time"

// AuditEntry is one line of the audit log, written in the same command as the change.
type AuditEntry struct {
	Seq       int64
	TenantID  TenantID
	At        time.Time
	Actor     Actor
	Action    string // "app.create"
	Object    string // the id it was done to
	Detail    string // JSON, secrets masked
	RequestID string
}
