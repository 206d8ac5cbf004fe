package state

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// auditedStore is a store of level 2 with n entries, of two tenants in turn.
func auditedStore(t *testing.T, n int) *Store {
	t.Helper()
	s := newStore(t)
	write(t, s, 1, func(ctx context.Context, x *Txn) error {
		if err := x.RaiseLevel(ctx, levelPeople); err != nil {
			return err
		}
		for i := range n {
			a := gestor.AuditEntry{
				TenantID: gestor.TenantID(fmt.Sprint("ten_", i%2)), At: time.Unix(int64(1000+i), 0), Action: "app.update", Object: fmt.Sprint("app_", i),
				Actor:    gestor.Actor{ID: fmt.Sprint("usr_", i%3), Name: "a@example.com", TokenID: gestor.TokenID(fmt.Sprint("tkn_", i%5))},
				Severity: gestor.AuditSeverities()[i%4], Outcome: []string{gestor.OutcomeDone, gestor.OutcomeRefused}[i%2],
			}
			if i%7 == 0 {
				a.Action = "node.drain"
			}
			if err := x.PutAudit(ctx, a); err != nil {
				return err
			}
		}
		return nil
	})
	return s
}

func TestSearchAudit_ChoosesAsTheFilterOfLinesDoes(t *testing.T) {
	s := auditedStore(t, 100)
	v := s.View(gestor.SystemScope())
	all, err := v.AuditAfter(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]AuditFilter{
		"all": {}, "from": {From: time.Unix(1050, 0)}, "to": {To: time.Unix(1050, 0)}, "tenant": {Tenant: "ten_1"},
		"actor": {Actor: "usr_2"}, "name": {Actor: "a@example.com"}, "nobody": {Actor: "usr_9"}, "prefix": {Action: "node."},
		"action": {Action: "app.update"}, "underscore is no wildcard": {Action: "app_update"}, "object": {Object: "app_7"},
		"severity": {Severity: gestor.AuditWarning}, "token": {Token: "tkn_3"}, "outcome": {Outcome: gestor.OutcomeRefused}, "year": {Year: 1970},
		"another year": {Year: 2000}, "some": {Actor: "usr_1", Severity: gestor.AuditNotice, To: time.Unix(1080, 0)},
	} {
		want := 0
		for _, a := range all {
			if line := a.Line(); f.Chooses(&line) {
				want++
			}
		}
		found, _, err := v.SearchAudit(t.Context(), f, gestor.Page{Size: 500})
		if err != nil || len(found) != want {
			t.Errorf("%s: the search found %d, %v; the filter chooses %d", name, len(found), err, want)
		}
		followed, seq, err := v.FollowAudit(t.Context(), f, 0, 500)
		if err != nil || len(followed) != want || seq != 100 {
			t.Errorf("%s: followed %d up to %d, %v", name, len(followed), seq, err)
		}
	}
}

func TestSearchAudit_ReachesEveryEntryOnce(t *testing.T) {
	s := auditedStore(t, 100)
	v := s.View(gestor.TenantScope("ten_1"))
	seen, page := map[int64]bool{}, gestor.Page{Size: 7}
	for {
		found, next, err := v.SearchAudit(t.Context(), AuditFilter{}, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range found {
			if seen[a.Seq] || a.TenantID != "ten_1" {
				t.Errorf("entry %d of %s, seen %t", a.Seq, a.TenantID, seen[a.Seq])
			}
			seen[a.Seq] = true
		}
		if page.Token = next; next == "" {
			break
		}
	}
	if len(seen) != 50 {
		t.Errorf("saw %d", len(seen))
	}
	var last int64
	for n := 0; ; {
		found, seq, err := v.FollowAudit(t.Context(), AuditFilter{}, last, 7)
		if err != nil {
			t.Fatal(err)
		}
		if n += len(found); seq == last {
			if n != 50 {
				t.Errorf("followed %d", n)
			}
			break
		}
		last = seq
	}
}

func TestSearchAudit_ShowsNothingToWhoIsKeptToSomeApps(t *testing.T) {
	s := auditedStore(t, 10)
	narrow := s.View(gestor.TenantScope("ten_1").Within(gestor.Narrowing{Apps: []gestor.AppID{"app_1"}}))
	found, _, err := narrow.SearchAudit(t.Context(), AuditFilter{}, gestor.Page{})
	followed, _, err2 := narrow.FollowAudit(t.Context(), AuditFilter{}, 0, 10)
	if err != nil || err2 != nil || len(found)+len(followed) > 0 {
		t.Errorf("got %d and %d, %v, %v", len(found), len(followed), err, err2)
	}
}

func TestSearchAudit_ReadsAStateOfLevelOne(t *testing.T) {
	s := newStore(t)
	populate(t, s, "mine", 1)
	found, _, err := s.View(gestor.TenantScope("ten_mine")).SearchAudit(t.Context(), AuditFilter{Action: "test."}, gestor.Page{})
	if err != nil || len(found) != 1 {
		t.Errorf("got %v, %v", found, err)
	}
}
