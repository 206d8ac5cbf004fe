package audit

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to change a copied database behind the state's back

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/fsm"
	"github.com/saas-gestor/gestor/server/internal/fsm/fsmtest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// world is a state machine without Raft around it, and a store for archives.
type world struct {
	t     testing.TB
	store *state.Store
	fsm   *fsm.FSM
	index uint64
	blobs *blob.Store
	fail  func(op command.Op) error // of Propose; nil for never
}

func (w *world) Propose(_ context.Context, c command.Command) (command.Receipt, error) {
	if w.fail != nil {
		if err := w.fail(c.Op); err != nil {
			return command.Receipt{}, err
		}
	}
	w.index++
	return fsmtest.Apply(w.fsm, w.index, c)
}

func (w *world) View(s gestor.Scope) *state.View { return w.store.View(s) }

func (w *world) Barrier(context.Context) error { return nil }

func (w *world) system() *state.View { return w.store.View(gestor.SystemScope()) }

func (w *world) must(op command.Op) {
	w.t.Helper()
	if _, err := w.Propose(w.t.Context(), command.Command{At: time.Now(), Actor: gestor.SystemActor("test"), Op: op}); err != nil {
		w.t.Fatalf("%T: %v", op, err)
	}
}

// newWorld holds four entries of each of the years 2024, 2025 and 2026, of two tenants in turn.
func newWorld(t testing.TB) *world {
	t.Helper()
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	blobs, err := blob.Open(blob.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blobs.Close() })
	w := &world{t: t, store: store, fsm: fsm.New(store, "test"), blobs: blobs}
	w.must(command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1"}, Level: 2})
	for i := range 12 {
		w.must(command.RecordAudit{Entries: []gestor.AuditEntry{entry(i, time.Date(2024+i/4, 11, 24, 2, 0, i, 7, time.UTC))}})
	}
	return w
}

func entry(i int, at time.Time) gestor.AuditEntry {
	actor := gestor.Actor{Kind: "user", ID: "usr_1", Name: "a@example.com", TenantID: gestor.TenantID(fmt.Sprint("ten_", i%2)), Action: "app.update"}
	return gestor.AuditEntry{
		TenantID: actor.TenantID, At: at, Actor: actor, Action: actor.Action, Object: fmt.Sprint("app_", i),
		Severity: gestor.AuditInfo, Outcome: gestor.OutcomeDone, Detail: `{"n":"\u003cé\u003e"}`,
	}
}

// verdict checks a log and returns what was found, with the last progress.
func verdict(t testing.TB, from Source, blobs Blobs, noted *Head) ([]auditlog.Problem, Progress) {
	t.Helper()
	var found []auditlog.Problem
	var last Progress
	err := Check(t.Context(), from, blobs, noted, func(p Progress) error {
		found, last = append(found, p.Problems...), p
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, last
}

// changed is a copy of the state with statements run over it.
func (w *world) changed(statements string) *state.View {
	w.t.Helper()
	pin, err := w.store.Pin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "copy.db")
	if err := pin.Copy(path); err != nil {
		w.t.Fatal(err)
	}
	_ = pin.Close()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := db.ExecContext(w.t.Context(), statements); err != nil {
		w.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		w.t.Fatal(err)
	}
	store, err := state.Open(w.t.Context(), w.t.TempDir())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = store.Close() })
	if err := store.Restore(w.t.Context(), path); err != nil {
		w.t.Fatal(err)
	}
	return store.View(gestor.SystemScope())
}

func TestCheck_FindsNothingInALogThatIsWhole(t *testing.T) {
	w := newWorld(t)
	found, last := verdict(t, w.system(), w.blobs, nil)
	if len(found) > 0 || last.Checked != 12 || last.Total != 12 || last.Head.Seq != 12 {
		t.Errorf("found %v in %+v", found, last)
	}
	if found, _ := verdict(t, w.system(), w.blobs, &last.Head); len(found) > 0 {
		t.Errorf("with its own head: %v", found)
	}
}

func TestCheck_FindsTheEntryThatIsNotWhatItWas(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		statements string
		seq        int64
	}{
		"changed":   {"UPDATE audit_logs SET object = 'app_other' WHERE seq = 6", 6},
		"actor":     {`UPDATE audit_logs SET actor_json = replace(actor_json, 'usr_1', 'usr_2') WHERE seq = 7`, 7},
		"time":      {"UPDATE audit_logs SET at = at + 1 WHERE seq = 3", 3},
		"deleted":   {"DELETE FROM audit_logs WHERE seq = 6", 7},
		"first":     {"DELETE FROM audit_logs WHERE seq = 1", 2},
		"exchanged": {"UPDATE audit_logs SET seq = -6 WHERE seq = 6; UPDATE audit_logs SET seq = 6 WHERE seq = 7; UPDATE audit_logs SET seq = 7 WHERE seq = -6", 6},
		"inserted": {`UPDATE audit_logs SET seq = seq + 1000 WHERE seq > 6; UPDATE audit_logs SET seq = seq - 999 WHERE seq > 1000;
			INSERT INTO audit_logs SELECT 7, tenant_id, at, actor_json, action, object, detail, request_id, year, severity, outcome, before_json, after_json, form, previous, hash
			FROM audit_logs WHERE seq = 6; UPDATE audit_years SET entries = entries + 1, last_seq = last_seq + 1 WHERE year = 2025; UPDATE audit_years SET first_seq = first_seq + 1, last_seq = last_seq + 1 WHERE year = 2026`, 7},
		"hash taken away":        {"UPDATE audit_logs SET form = 0, hash = x'', object = 'app_other' WHERE seq = 6", 6},
		"cut at the end":         {"DELETE FROM audit_logs WHERE seq > 10", 12},
		"added at the end":       {"INSERT INTO audit_logs (seq, tenant_id, at, actor_json, action, object, detail, request_id) VALUES (13, '', 1, '{}', 'a.b', '', '', '')", 13},
		"year taken away":        {"DELETE FROM audit_logs WHERE year = 2025; DELETE FROM audit_years WHERE year = 2025", 9},
		"head of a year changed": {"UPDATE audit_years SET head = x'00' WHERE year = 2025", 8},
	} {
		t.Run(name, func(t *testing.T) {
			found, last := verdict(t, w.changed(c.statements), w.blobs, nil)
			if len(found) == 0 {
				t.Fatal("nothing was found")
			}
			if found[0].Seq != c.seq || int(last.Count) != len(found) {
				t.Errorf("found %v", found)
			}
		})
	}
}

// rebuilt is a log that somebody made anew, with hashes that fit, from a place on: only a head that was noted tells.
func TestCheck_FindsByANotedHeadWhatTheChainAloneCannotShow(t *testing.T) {
	w := newWorld(t)
	_, last := verdict(t, w.system(), w.blobs, nil)
	shorter := w.changed(`DELETE FROM audit_logs WHERE seq > 10;
		UPDATE audit_years SET last_seq = 10, entries = 2, head = (SELECT hash FROM audit_logs WHERE seq = 10) WHERE year = 2026`)
	if found, _ := verdict(t, shorter, w.blobs, nil); len(found) != 0 {
		t.Errorf("a chain does not know how long it was, found %v", found)
	}
	if found, _ := verdict(t, shorter, w.blobs, &last.Head); len(found) != 1 || !strings.Contains(found[0].What, "12") {
		t.Errorf("found %v", found)
	}
	other := newWorld(t)
	other.must(command.RecordAudit{Entries: []gestor.AuditEntry{entry(99, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))}})
	wrong := last.Head
	wrong.Hash = append(auditlog.Hash{}, wrong.Hash...)
	wrong.Hash[0] ^= 1
	if found, _ := verdict(t, other.system(), other.blobs, &wrong); len(found) != 1 || found[0].Seq != 12 {
		t.Errorf("found %v", found)
	}
}

func TestCheck_CountsWhatIsOlderThanHashes(t *testing.T) {
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	w := &world{t: t, store: store, fsm: fsm.New(store, "test")}
	w.must(command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1"}, Level: 1})
	actor := gestor.SystemActor("test")
	actor.Action = "server.put"
	for i := range 3 {
		at := time.Date(2025+i/2, 1, 1, 0, 0, 0, 0, time.UTC)
		server := gestor.Server{ID: "srv_1", Name: "ctl1", PeerAddress: "ctl1:8444", Level: command.Level, Version: fmt.Sprint("v", i)}
		if _, err := w.Propose(t.Context(), command.Command{At: at, Actor: actor, Op: command.PutServer{Server: server}}); err != nil {
			t.Fatal(err)
		}
	}
	w.must(command.RaiseLevel{Level: 2})
	w.must(command.RecordAudit{Entries: []gestor.AuditEntry{entry(0, time.Now()), entry(1, time.Now())}})
	found, last := verdict(t, w.system(), nil, nil)
	if len(found) > 0 || last.Without != 3 || last.Checked != 5 || last.Total != 5 {
		t.Errorf("found %v in %+v", found, last)
	}
	hidden := w.changed("DELETE FROM audit_logs WHERE seq = 2")
	if found, _ := verdict(t, hidden, nil, nil); len(found) == 0 {
		t.Error("an old entry that is missing was not missed")
	}
}
