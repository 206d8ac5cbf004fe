package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// The loops of the leader read these after every commit; none of them may get slower as the history grows.
func TestTasksUnderWay_AreFoundWithoutWalkingTheHistory(t *testing.T) {
	s := newStore(t)
	const queue = " AND state = 'queued' ORDER BY priority DESC, created_at, id"
	for rest, index := range map[string]string{
		held:     "tasks_held",
		heldOf:   "tasks_held",
		queuedOf: "tasks_queued",
		queue:    "tasks_queued",
		changed:  "tasks_revision",
	} {
		plan := s.plan(t, tasks.at(s.level()).sel+"\nWHERE 1 = 1"+rest)
		if !strings.Contains(plan, index) {
			t.Errorf("%s\nis read by %q, want index %s", rest, plan, index)
		}
	}
}

// What commands read while they are applied holds up everybody, so none of it walks through a table that grows with use.
func TestCommands_ReadNoTableThrough(t *testing.T) {
	s := newStore(t)
	write(t, s, 1, func(ctx context.Context, x *Txn) error {
		at := time.Unix(1, 0)
		x.Revision = 1
		event, err := x.AddEvent(ctx, gestor.Event{TenantID: "ten_1", Key: "k", CreatedAt: at})
		return errors.Join(
			err,
			second(x.EventOfKey(ctx, "ten_1", event.Key, at)),
			second(x.DeliveryOfKey(ctx, "chn_1", "k")),
			last(x.WaitingDeliveries(ctx, "chn_1")),
			second(x.LastWaiting(ctx, "chn_1")),
			x.AddDelivery(ctx, gestor.Delivery{ChannelID: "chn_1"}),
			last(x.DueDeliveries(ctx, 4)),
			x.PutAudit(ctx, gestor.AuditEntry{At: at}),
			last(x.UseOf(ctx, "ten_1")),
			last(x.CountFullAdmins(ctx, "ten_1", "")),
			last(x.CountOperators(ctx, "")),
			last(x.CountInvitations(ctx, "ten_1")),
			last(x.InvitationByEmail(ctx, "ten_1", "a@example.com")),
			last(x.SessionByTokenHash(ctx, []byte("x"))),
			last(x.TokenByHash(ctx, []byte("x"))),
			last(x.TokensByUser(ctx, "usr_1")),
			last(x.FactorsByUser(ctx, "usr_1")),
			last(x.FactorByCredential(ctx, []byte("x"))),
			last(x.RecoveryCodes(ctx, "usr_1")),
			x.EndAccess(ctx, "usr_1"),
			x.DeleteInvitationsBy(ctx, "usr_1"),
			last(x.Protection(ctx, "ten_1", "production")),
			last(x.Approvals(ctx, "dep_1")),
			last(x.LastSuccess(ctx, "app_1", "rel_1", "dep_1")),
			last(x.ReleaseByBuild(ctx, "bld_1")),
			last(x.EnvAt(ctx, "app_1", 1)),
			x.PruneEnvVersions(ctx, "app_1", 10),
			x.exec(ctx, pruneEventsOf, "ten_1", 10),
			x.Touch(ctx, gestor.Touch{Session: "ses_1", At: at}),
			x.Touch(ctx, gestor.Touch{Token: "tkn_1", At: at}),
		)
	})
	for query := range s.current().writing.by {
		if !strings.Contains(query, "FROM") {
			continue
		}
		plan := s.plan(t, query)
		for _, table := range []string{
			"system_events", "deliveries", "audit_logs", "users", "sessions", "tokens", "invitations", "factors", "recovery_codes", "deployments",
			"deployment_approvals", "releases", "applications", "application_env", "application_env_past", "application_env_versions",
		} {
			if strings.Contains(plan, "SCAN "+table) {
				t.Errorf("%s\nreads %s through: %s", query, table, plan)
			}
		}
	}
}

// last is the error of a read; nothing that is read is there.
func last[T any](_ T, err error) error {
	if errors.Is(err, fault.KindNotFound) {
		return nil
	}
	return err
}

func second[A, B any](_ A, _ B, err error) error { return err }

func (s *Store) plan(t *testing.T, query string) string {
	t.Helper()
	n := strings.Count(query, "?")
	for ; n > 0 && strings.Contains(query, "?1") && !strings.Contains(query, fmt.Sprint("?", n)); n-- {
	}
	rows, err := s.query(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, n)...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(step + "; ")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
