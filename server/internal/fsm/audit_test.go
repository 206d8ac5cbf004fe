package fsm

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// auditStory is how the year of a story ends: the next one begins, and the old one is archived.
func auditStory(t testing.TB, before []command.Command) []command.Command {
	t.Helper()
	w := emptyWorld(t)
	for _, c := range before {
		w.apply(c)
	}
	next := []command.Command{{At: start, Actor: system, Op: command.RecordAudit{Entries: []gestor.AuditEntry{attempt(start.AddDate(1, 0, 0))}}}}
	w.apply(next[0])
	years, err := w.view().AuditYears(t.Context())
	if err != nil || len(years) != 2 {
		t.Fatalf("got %d years, %v", len(years), err)
	}
	years[0].Digest, years[0].Bytes = "d1", 100
	return append(next,
		command.Command{At: start, Actor: system, Op: command.ArchiveAudit{Year: years[0]}},
		command.Command{At: start, Actor: system, Op: command.DropAudit{Year: years[0].Year, Most: 3}},
	)
}

// attempt is a refused attempt to delete app_1.
func attempt(at time.Time) gestor.AuditEntry {
	actor := alice
	actor.Action = "app.delete"
	return gestor.AuditEntry{
		TenantID: "ten_a", At: at, Actor: actor, Action: actor.Action, Object: "app_1",
		Severity: gestor.AuditWarning, Outcome: gestor.OutcomeRefused, Detail: `{"reason":"permission"}`,
	}
}

// entries are all of the audit log, the oldest first.
func (w *world) entries() []gestor.AuditEntry {
	w.t.Helper()
	all, err := w.view().AuditAfter(w.t.Context(), 0, 10000)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// told is the newest entry, of an op done by alice with an action.
func (w *world) told(action string, op command.Op) gestor.AuditEntry {
	w.t.Helper()
	actor := alice
	actor.Action = action
	w.apply(command.Command{At: w.now, Actor: actor, Op: op})
	all := w.entries()
	return all[len(all)-1]
}

func TestAudit_ChainsEveryEntryToTheOneBeforeAcrossYears(t *testing.T) {
	w := newWorld(t)
	w.told("node.drain", command.SetNodeDraining{ID: "nod_1", Draining: true})
	w.told("app.delete", command.DeleteApp{ID: "app_none"})
	w.now = w.now.AddDate(1, 0, 0)
	w.told("node.activate", command.SetNodeDraining{ID: "nod_1"})
	w.now = w.now.AddDate(-1, 0, 0) // a clock that was set back
	last := w.told("node.drain", command.SetNodeDraining{ID: "nod_1", Draining: true})
	if last.Year != 2027 {
		t.Errorf("an entry of a clock that went back is of the year %d", last.Year)
	}
	var chain auditlog.Chain
	chain.After(0, nil, 0)
	for _, a := range w.entries() {
		line := a.Line()
		for _, p := range chain.Add(&line) {
			t.Error(p)
		}
	}
	years, err := w.view().AuditYears(t.Context())
	if err != nil || len(years) != 2 {
		t.Fatalf("got %+v, %v", years, err)
	}
	if years[0].Entries != 2 || years[1].Entries != 2 || string(years[1].Previous) != string(years[0].Head) || string(years[1].Head) != string(chain.Head) {
		t.Errorf("the years are %+v", years)
	}
}

func TestAudit_ShowsWhatChangedAndNothingElse(t *testing.T) {
	w := newWorld(t)
	settings := newApp("app_1", "shop", "nod_1").Settings
	settings.Port, settings.Branch = 8080, "main"
	got := w.told("app.update", command.UpdateApp{ID: "app_1", Settings: settings})
	if got.Before != `{"branch":"","port":0}` || got.After != `{"branch":"main","port":8080}` {
		t.Errorf("before %s, after %s", got.Before, got.After)
	}
	if got.Severity != gestor.AuditInfo || got.Outcome != gestor.OutcomeDone || got.Form != auditlog.Form {
		t.Errorf("got %+v", got)
	}
}

func TestAudit_SaysWhatWasRefusedAndWhoTriedIt(t *testing.T) {
	w := newWorld(t)
	actor := alice
	actor.Action, actor.TokenID, actor.Reference, actor.Severity = "app.delete", "tkn_1", "ref-1", gestor.AuditNotice
	r := w.apply(command.Command{At: w.now, Actor: actor, Op: command.DeleteApp{ID: "app_none"}})[0]
	if !errors.Is(r.Err, fault.KindNotFound) {
		t.Fatal(r.Err)
	}
	got := w.entries()[0]
	if got.Severity != gestor.AuditWarning || got.Outcome != gestor.OutcomeRefused || got.Actor.TokenID != "tkn_1" || got.Actor.Reference != "ref-1" {
		t.Errorf("got %+v", got)
	}
	actor.Action = "app.pin"
	w.apply(command.Command{At: w.now, Actor: actor, Op: command.SetNodeDraining{ID: "nod_1"}})
	if got := w.entries()[1]; got.Severity != gestor.AuditNotice || got.Actor.Severity != "" {
		t.Errorf("got %+v", got)
	}
}

func TestAudit_WritesAStateOfLevelOneAsItAlwaysDid(t *testing.T) {
	w := emptyWorld(t)
	w.must(command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1", SetupHash: secret}, Level: 1})
	actor := system
	actor.Action, actor.TokenID, actor.Reference, actor.Operator, actor.Severity = "x.y", "tkn_1", "ref-1", true, gestor.AuditCritical
	w.apply(command.Command{At: w.now, Actor: actor, Op: command.PutServer{Server: newServer("srv_1", "ctl1")}})
	got := w.entries()[0]
	if a := got.Actor; a.TokenID != "" || a.Reference != "" || a.Operator || a.Severity != "" {
		t.Errorf("servers of level 1 would not know all of %+v", a)
	}
	w.must(command.RaiseLevel{Level: 2})
	w.apply(command.Command{At: w.now, Actor: actor, Op: command.PutServer{Server: newServer("srv_1", "ctl1")}})
	all := w.entries()
	if all[0].Form != 0 || all[0].Year != 2026 || all[1].Form != auditlog.Form || len(all[1].Previous) != 0 || !all[1].Actor.Operator {
		t.Errorf("after the migration there is %+v", all)
	}
	years, err := w.view().AuditYears(t.Context())
	if err != nil || len(years) != 1 || years[0].Entries != 2 || years[0].FirstSeq != 1 || string(years[0].Head) != string(all[1].Hash) {
		t.Errorf("got %+v, %v", years, err)
	}
}

func TestAudit_RecordsAttemptsAsTheyWere(t *testing.T) {
	w := newWorld(t)
	w.must(command.RecordAudit{Entries: []gestor.AuditEntry{attempt(start), attempt(start.Add(time.Second))}})
	all := w.entries()
	if len(all) != 2 || all[0].Action != "app.delete" || all[0].Outcome != gestor.OutcomeRefused || all[1].Form != auditlog.Form {
		t.Errorf("got %+v", all)
	}
}

func TestAudit_ArchivesOneYearAfterTheOtherAndDropsThenOnly(t *testing.T) {
	w := newWorld(t)
	w.must(command.RecordAudit{Entries: []gestor.AuditEntry{attempt(start), attempt(start), attempt(start.AddDate(1, 0, 0)), attempt(start.AddDate(2, 0, 0))}})
	years, err := w.view().AuditYears(t.Context())
	if err != nil || len(years) != 3 {
		t.Fatalf("got %+v, %v", years, err)
	}
	for i := range years {
		years[i].Digest, years[i].Bytes = "d", 1
	}
	w.actor = system
	w.refuses(fault.KindConflict, command.DropAudit{Year: 2026, Most: 10})
	w.refuses(fault.KindConflict, command.ArchiveAudit{Year: years[1]}) // 2026 comes first
	w.refuses(fault.KindConflict, command.ArchiveAudit{Year: years[2]}) // goes on
	w.refuses(fault.KindNotFound, command.ArchiveAudit{Year: gestor.AuditYear{Year: 1999, Digest: "d"}})
	wrong := years[0]
	wrong.Entries++
	w.refuses(fault.KindConflict, command.ArchiveAudit{Year: wrong})
	wrong = years[0]
	wrong.Head = hashOf("other")
	w.refuses(fault.KindConflict, command.ArchiveAudit{Year: wrong})
	w.must(command.ArchiveAudit{Year: years[0]})
	w.must(command.ArchiveAudit{Year: years[0]})
	w.must(command.DropAudit{Year: 2026, Most: 1})
	if all := w.entries(); len(all) != 3 || all[0].Seq != 2 {
		t.Errorf("got %+v", all)
	}
	w.must(command.DropAudit{Year: 2026, Most: 100})
	w.must(command.DropAudit{Year: 2026, Most: 100})
	if all := w.entries(); len(all) != 2 || all[0].Year != 2027 {
		t.Errorf("got %+v", all)
	}
	w.must(command.RecordAudit{Entries: []gestor.AuditEntry{attempt(start.AddDate(2, 0, 0))}})
	if all := w.entries(); string(all[2].Previous) != string(all[1].Hash) {
		t.Error("the chain does not go on after an archive")
	}
}

func TestCut_KeepsEntriesShort(t *testing.T) {
	_, is := difference(nil, map[string]any{"text": strings.Repeat("é", 400), "list": make([]string, 70), "none": "", "zero": 0})
	b, err := json.Marshal(is)
	if err != nil || len(is) != 2 || !strings.Contains(string(b), "and 20 more") || len(is["text"].(string)) > mostText+3 {
		t.Errorf("got %s, %v", b, err)
	}
}
