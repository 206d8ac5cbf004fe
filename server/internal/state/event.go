package state

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var events = newTableOf(levelPeople, Events, "system_events", []string{"id"}, func(e *gestor.Event) []column {
	return []column{
		{"id", &e.ID},
		{"tenant_id", &e.TenantID},
		{"severity", &e.Severity},
		{"kind", &e.Kind},
		{"object_kind", &e.ObjectKind},
		{"object_id", &e.ObjectID},
		{"app_id", &e.AppID},
		{"title", &e.Title},
		{"data_json", &e.Data},
		{"key", &e.Key},
		{"created_at", &e.CreatedAt},
		{"last_at", &e.LastAt},
		{"count", &e.Count},
		{"revision", &e.Revision},
	}
}).within(bounds{app: "app_id", installation: true})

var eventReads = newTableOf(levelPeople, Events, "event_reads", []string{"user_id"}, func(r *gestor.EventReads) []column {
	return []column{
		{"user_id", &r.UserID},
		{"tenant_id", &r.TenantID},
		{"up_to", &r.UpTo},
		{"others_json", &r.Others},
		{"revision", &r.Revision},
	}
})

// EventFilter chooses events. The zero value is all of them.
type EventFilter struct {
	Severity gestor.Severity    // no less than this
	Kind     string             // within this
	App      gestor.AppID       // about this app
	Unread   *gestor.EventReads // not in these
	Since    time.Time          // no earlier than this
	Until    time.Time          // earlier than this
}

func (f EventFilter) condition() (string, []any) {
	var rest strings.Builder
	var args []any
	add := func(condition string, values ...any) {
		rest.WriteString(" AND " + condition)
		args = append(args, values...)
	}
	if f.Severity > gestor.SeverityInfo {
		add("severity >= ?", int(f.Severity))
	}
	if f.Kind != "" {
		within := strings.TrimSuffix(f.Kind, ".") + "."
		add("(kind = ? OR substr(kind, 1, ?) = ?)", f.Kind, len(within), within)
	}
	if f.App != "" {
		add("app_id = ?", string(f.App))
	}
	if f.Unread != nil {
		add("id > ? AND id NOT IN (SELECT value FROM json_each(?))", string(f.Unread.UpTo), jsonText(f.Unread.Others))
	}
	if !f.Since.IsZero() {
		add("last_at >= ?", nanos(f.Since))
	}
	if !f.Until.IsZero() {
		add("created_at < ?", nanos(f.Until))
	}
	return rest.String(), args
}

var eventsByAge = order[gestor.Event]{by: "id", desc: true, key: func(e gestor.Event) cursor {
	return cursor{Text: string(e.ID), ID: string(e.ID)}
}}

// Events are the events that pass a filter, the newest first.
func (v *View) Events(ctx context.Context, f EventFilter, page gestor.Page) ([]gestor.Event, string, error) {
	rest, args := f.condition()
	return list(ctx, v, events, eventsByAge, page, rest, args...)
}

// Event is an event.
func (v *View) Event(ctx context.Context, id gestor.EventID) (gestor.Event, error) {
	return one(ctx, v, events, "event", " AND id = ?", string(id))
}

// EventsChangedSince are the events that pass a filter and changed after a revision: the limit that changed last, in the
// order in which they happened.
func (v *View) EventsChangedSince(ctx context.Context, revision uint64, f EventFilter, limit int) ([]gestor.Event, error) {
	rest, args := f.condition()
	where, args := v.where(events.bounds, append([]any{int64(revision)}, args...)...)
	newest := "SELECT id FROM system_events " + where + " AND revision > ?" + rest + " ORDER BY revision DESC, id DESC LIMIT ?"
	return events.find(ctx, v.from, "WHERE id IN ("+newest+") ORDER BY id", append(args, limit)...)
}

// EventReads is what a user has read; nothing if the user never said.
func (v *View) EventReads(ctx context.Context, user gestor.UserID) (gestor.EventReads, error) {
	r, err := one(ctx, v, eventReads, "mark of a reader", " AND user_id = ?", string(user))
	if errors.Is(err, fault.KindNotFound) {
		return gestor.EventReads{}, nil
	}
	return r, err
}

// UnreadEvents counts what is not among reads, by severity.
func (v *View) UnreadEvents(ctx context.Context, reads gestor.EventReads) (map[gestor.Severity]int64, error) {
	if v.from.level() < levelPeople {
		return nil, nil
	}
	rest, args := EventFilter{Unread: &reads}.condition()
	where, args := v.where(events.bounds, args...)
	rows, err := v.from.query(ctx, "SELECT severity, COUNT(*)\nFROM system_events\n"+where+rest+"\nGROUP BY severity", args...)
	if err != nil {
		return nil, fmt.Errorf("count events: %w", err)
	}
	defer rows.Close()
	out := map[gestor.Severity]int64{}
	for rows.Next() {
		var severity gestor.Severity
		var n int64
		if err := rows.Scan(&severity, &n); err != nil {
			return nil, fmt.Errorf("count events: %w", err)
		}
		out[severity] = n
	}
	return out, rows.Err()
}

// AddEvent writes a new event and gives it its id.
func (x *Txn) AddEvent(ctx context.Context, e gestor.Event) (gestor.Event, error) {
	n, err := x.nextOf(ctx, "SELECT MAX(id) FROM system_events WHERE id >= ?", string(gestor.NewEventID(x.Revision, 0)))
	if err != nil {
		return e, err
	}
	e.ID = gestor.NewEventID(x.Revision, n)
	return e, x.PutEvent(ctx, e)
}

// nextOf is the number behind the last of those that an entry of the log has given out, the first of which is first. They
// are not counted, because some may be gone again.
func (x *Txn) nextOf(ctx context.Context, last, first string) (int, error) {
	found, err := texts(ctx, x, "SELECT COALESCE(("+last+"), '')", first)
	if err != nil || len(found) == 0 || found[0] == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(found[0][len(first)-idDigits:], 16, 32)
	return int(n) + 1, err
}

// idDigits is how many digits of the ids of events and deliveries count within an entry of the log.
const idDigits = 4

// PutEvent writes an event that is known.
func (x *Txn) PutEvent(ctx context.Context, e gestor.Event) error {
	e.Revision = x.Revision
	return events.save(ctx, x, &e)
}

// EventOfKey is the newest event of a key that happened first after a time; false if there is none.
func (x *Txn) EventOfKey(ctx context.Context, tenant gestor.TenantID, key string, after time.Time) (gestor.Event, bool, error) {
	if key == "" {
		return gestor.Event{}, false, nil
	}
	found, err := events.find(ctx, x, "WHERE tenant_id = ? AND key = ? AND key <> '' ORDER BY id DESC LIMIT 1", string(tenant), key)
	if err != nil || len(found) == 0 || !found[0].CreatedAt.After(after) {
		return gestor.Event{}, false, err
	}
	return found[0], true, nil
}

// PutEventReads writes what a user has read.
func (x *Txn) PutEventReads(ctx context.Context, r gestor.EventReads) error {
	r.Revision = x.Revision
	return eventReads.save(ctx, x, &r)
}

const (
	pruneEventsByAge = "DELETE FROM system_events WHERE last_at < ?"

	// Both go by the index of tenants alone: there may be a million events, and nothing else is applied meanwhile.
	tenantsOfEvents = "SELECT tenant_id\nFROM system_events\nGROUP BY tenant_id\nHAVING count(*) > ?\nORDER BY tenant_id"
	pruneEventsOf   = `
DELETE FROM system_events
WHERE tenant_id = ?1 AND id <= (SELECT id FROM system_events WHERE tenant_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`

	pruneEventReads = "DELETE FROM event_reads WHERE user_id NOT IN (SELECT id FROM users)"
)

// PruneEvents removes events that happened last before a time, of each tenant all but the newest, and what belongs to
// people and tenants that are gone.
func (x *Txn) PruneEvents(ctx context.Context, before time.Time, most int) error {
	x.touch(Events)
	if err := errors.Join(x.exec(ctx, pruneEventsByAge, nanos(before)), x.exec(ctx, pruneEventReads)); err != nil {
		return err
	}
	all, err := texts(ctx, x, tenantsOfEvents, 0)
	if err != nil {
		return err
	}
	many, err := texts(ctx, x, tenantsOfEvents, most)
	if err != nil {
		return err
	}
	for _, id := range many {
		if err := x.exec(ctx, pruneEventsOf, id, most); err != nil {
			return err
		}
	}
	return x.forgetEventsOfGone(ctx, all)
}

func (x *Txn) forgetEventsOfGone(ctx context.Context, tenants []string) error {
	for _, id := range tenants {
		n, err := x.number(ctx, "SELECT count(*) FROM tenants WHERE id = ?", id)
		if err != nil {
			return err
		}
		if n > 0 || id == "" { // what is of the installation stays
			continue
		}
		if err := x.exec(ctx, "DELETE FROM system_events WHERE tenant_id = ?", id); err != nil {
			return err
		}
	}
	return nil
}

// LastEvent is the newest event about an object of one of two kinds; false if there is none. A state of the first level has
// none.
func (v *View) LastEvent(ctx context.Context, object, kind, other string) (gestor.Event, bool, error) {
	if v.from.level() < levelPeople {
		return gestor.Event{}, false, nil
	}
	found, err := many(ctx, v, events, " AND object_id = ? AND object_id <> '' AND kind IN (?, ?) ORDER BY id DESC LIMIT 1", object, kind, other)
	if err != nil || len(found) == 0 {
		return gestor.Event{}, false, err
	}
	return found[0], true, nil
}
