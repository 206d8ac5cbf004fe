package gestor

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
)

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

	// What follows came with level 2; it is empty in older states.
	Year     int           // whose chain it is in: that of At, but never less than the one before
	Severity AuditSeverity // how much it matters
	Outcome  string        // OutcomeDone, OutcomeRefused
	Before   string        // JSON: what was, secrets masked; for a change only what is different
	After    string        // JSON: what is
	Form     int           // of the hash; 0 for none
	Previous []byte        // the hash before it
	Hash     []byte        // auditlog.Line.Sum of all of this
}

// AuditSeverity is how much an entry of the audit log matters.
type AuditSeverity string

// The severities, the least first.
const (
	AuditInfo     AuditSeverity = "info"
	AuditNotice   AuditSeverity = "notice"   // grants, deletes, reads of secrets
	AuditWarning  AuditSeverity = "warning"  // refused
	AuditCritical AuditSeverity = "critical" // the audit log or the state is not what it was
)

// AuditSeverities are all there are, the least first.
func AuditSeverities() []AuditSeverity {
	return []AuditSeverity{AuditInfo, AuditNotice, AuditWarning, AuditCritical}
}

// What became of what was tried.
const (
	OutcomeDone    = "done"
	OutcomeRefused = "refused"
)

// AuditYear is a year of the audit log.
type AuditYear struct {
	Year       int
	FirstSeq   int64
	LastSeq    int64
	Entries    int64
	Previous   []byte    // the hash before its first entry
	Head       []byte    // the hash of its last entry
	Digest     string    // of the artifact that holds it; empty while its entries are in the state
	Bytes      int64     // of that
	ArchivedAt time.Time // zero while its entries are in the state
}

// SeverityOf is how much a change matters when it is done, by its action: what takes away, lets in, or shows secrets is worth a
// second look.
func SeverityOf(action string) AuditSeverity {
	noun, verb, _ := strings.Cut(action, ".")
	for _, v := range []string{
		"delete", "remove", "reveal", "export", "grant", "revoke", "invite", "role", "operator", "suspend", "cancel_tenant", "trash",
		"purge", "restore", "rotate", "reset", "block", "claim", "enroll", "join", "transfer", "approve", "override",
	} {
		if verb == v || strings.HasPrefix(verb, v+"_") || strings.HasSuffix(verb, "_"+v) {
			return AuditNotice
		}
	}
	switch noun {
	case "token", "server_token", "join_token", "factor", "provider", "protection":
		return AuditNotice
	}
	return AuditInfo
}

// Line is the entry as it is written outside of the servers, and as its hash is made.
func (a AuditEntry) Line() auditlog.Line {
	l := auditlog.Line{
		Seq: a.Seq, Year: a.Year, At: a.At.UTC(), Tenant: string(a.TenantID),
		Kind: a.Actor.Kind, Actor: a.Actor.ID, Name: a.Actor.Name, Home: string(a.Actor.TenantID), Session: string(a.Actor.SessionID),
		Token: string(a.Actor.TokenID), Address: a.Actor.Address, UserAgent: a.Actor.UserAgent, Reference: a.Actor.Reference,
		Operator: a.Actor.Operator, Action: a.Action, Object: a.Object, Severity: string(a.Severity), Outcome: a.Outcome,
		Detail: rawJSON(a.Detail), Before: rawJSON(a.Before), After: rawJSON(a.After),
		Request: a.RequestID, Form: a.Form, Previous: a.Previous, Hash: a.Hash,
	}
	return l
}

// rawJSON is text that is JSON; anything else would make the line none.
func rawJSON(text string) json.RawMessage {
	if text == "" || !json.Valid([]byte(text)) {
		return nil
	}
	return json.RawMessage(text)
}
