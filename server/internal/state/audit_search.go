package state

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// AuditFilter chooses entries of the audit log. Zeroes do not choose.
type AuditFilter struct {
	From, To time.Time       // not before From, before To
	Tenant   gestor.TenantID // within what the scope sees
	Actor    string          // an id, or how lists show it
	Action   string          // how it begins
	Object   string
	Severity gestor.AuditSeverity // at least
	Token    gestor.TokenID
	Outcome  string
	Year     int
}

// auditAtOnce is how many entries a search looks at before it returns what it has.
const auditAtOnce = 20_000

// condition is the filter as SQL, and its arguments. Entries of level 1 have neither year, severity nor outcome; see seesAudit.
func (f AuditFilter) condition() (string, []any) {
	var sql strings.Builder
	var args []any
	add := func(chosen bool, condition string, values ...any) {
		if chosen {
			sql.WriteString(" AND " + condition)
			args = append(args, values...)
		}
	}
	add(!f.From.IsZero(), "at >= ?", nanos(f.From))
	add(!f.To.IsZero(), "at < ?", nanos(f.To))
	add(f.Tenant != "", "tenant_id = ?", string(f.Tenant))
	add(f.Actor != "", "? IN (json_extract(actor_json, '$.ID'), json_extract(actor_json, '$.Name'))", f.Actor)
	add(f.Action != "", "substr(action, 1, length(?)) = ?", f.Action, f.Action)
	add(f.Object != "", "object = ?", f.Object)
	add(f.Token != "", "json_extract(actor_json, '$.TokenID') = ?", string(f.Token))
	add(f.Outcome != "", "outcome = ?", f.Outcome)
	add(f.Year != 0, "year = ?", f.Year)
	if all := gestor.AuditSeverities(); f.Severity != "" {
		least := slices.Index(all, f.Severity)
		add(true, "severity IN (SELECT value FROM json_each(?))", jsonText(all[max(0, least):]))
	}
	return sql.String(), args
}

// Chooses reports whether a line is one that the filter chooses, as the search of a state would.
func (f AuditFilter) Chooses(l *auditlog.Line) bool {
	all := gestor.AuditSeverities()
	switch {
	case !f.From.IsZero() && l.At.Before(f.From), !f.To.IsZero() && !l.At.Before(f.To),
		f.Tenant != "" && l.Tenant != string(f.Tenant),
		f.Actor != "" && l.Actor != f.Actor && l.Name != f.Actor,
		!strings.HasPrefix(l.Action, f.Action),
		f.Object != "" && l.Object != f.Object,
		f.Token != "" && l.Token != string(f.Token),
		f.Outcome != "" && l.Outcome != f.Outcome,
		f.Year != 0 && l.Year != f.Year,
		f.Severity != "" && slices.Index(all, gestor.AuditSeverity(l.Severity)) < slices.Index(all, f.Severity):
		return false
	}
	return true
}

// seesAudit reports whether a scope sees entries at all: one that is kept to some apps sees none, because an entry may be
// about anything. Those of a state of level 1 have nothing of what later ones are chosen by.
func (v *View) seesAudit(f AuditFilter) bool {
	if v.from.level() < levelPeople && (f.Year != 0 || f.Outcome != "" || f.Severity != "") {
		return false
	}
	return v.scope.IsSystem() || len(v.scope.Narrow) == 0
}

// SearchAudit are entries of the audit log, the newest first. It looks at so many at a time, so that a page may be short, even
// empty, while there are more.
func (v *View) SearchAudit(ctx context.Context, f AuditFilter, page gestor.Page) ([]gestor.AuditEntry, string, error) {
	if !v.seesAudit(f) {
		return nil, "", nil
	}
	size := page.Size
	if size <= 0 {
		size = defaultPage
	}
	size = min(size, maxPage)
	newest, oldest, err := v.auditRange(ctx)
	if err != nil {
		return nil, "", err
	}
	if page.Token != "" {
		after, err := parseCursor(page.Token)
		if err != nil {
			return nil, "", err
		}
		newest = min(newest, after.Number-1)
	}
	condition, args := f.condition()
	from := max(oldest, newest-auditAtOnce+1)
	found, err := many(ctx, v, audit, " AND seq <= ? AND seq >= ?"+condition+" ORDER BY seq DESC LIMIT ?",
		append(append([]any{newest, from}, args...), size+1)...)
	switch {
	case err != nil:
		return nil, "", err
	case len(found) > size:
		return found[:size], cursor{Number: found[size-1].Seq}.token(), nil
	case from > oldest:
		return found, cursor{Number: from}.token(), nil
	}
	return found, "", nil
}

// auditRange is which entries there are, of all tenants.
func (v *View) auditRange(ctx context.Context) (newest, oldest int64, err error) {
	if newest, err = number(ctx, v.from, "SELECT COALESCE(MAX(seq), 0) FROM audit_logs"); err != nil {
		return 0, 0, err
	}
	oldest, err = number(ctx, v.from, "SELECT COALESCE(MIN(seq), 1) FROM audit_logs")
	return newest, oldest, err
}

// LastAuditSeq is the number of the newest entry, of whichever tenant; 0 if there is none.
func (v *View) LastAuditSeq(ctx context.Context) (int64, error) {
	newest, _, err := v.auditRange(ctx)
	return newest, err
}

// FollowAudit are up to limit entries behind the one numbered seq that the filter chooses, the oldest first, and up to which
// entry was looked.
func (v *View) FollowAudit(ctx context.Context, f AuditFilter, seq int64, limit int) ([]gestor.AuditEntry, int64, error) {
	newest, oldest, err := v.auditRange(ctx)
	if err != nil {
		return nil, seq, err
	}
	seq = max(seq, oldest-1)
	to := min(newest, seq+auditAtOnce)
	if !v.seesAudit(f) || to <= seq {
		return nil, max(seq, to), nil
	}
	condition, args := f.condition()
	found, err := many(ctx, v, audit, " AND seq > ? AND seq <= ?"+condition+" ORDER BY seq LIMIT ?", append(append([]any{seq, to}, args...), limit)...)
	if err != nil {
		return nil, seq, err
	}
	if len(found) == limit {
		to = found[len(found)-1].Seq
	}
	return found, to, nil
}
