package logfile

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// mirrored runs a mirror of e into dir until holds, then stops it.
func mirrored(t *testing.T, e *engine.Engine, dir string, holds func() bool) {
	t.Helper()
	sub := e.Watch(state.Audit)
	defer sub.Close()
	m := NewMirror(dir, e.View(gestor.SystemScope()).AuditAfter, sub.C, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	await(t, holds)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// change makes n entries at a time.
func change(t *testing.T, e *engine.Engine, at time.Time, n int) {
	t.Helper()
	for range n {
		actor := enginetest.Actor()
		actor.Action, actor.Address = "session.create", "192.0.2.1"
		session := gestor.Session{
			ID: gestor.NewID[gestor.SessionID]("ses"), UserID: enginetest.Admin, TenantID: enginetest.Tenant,
			TokenHash: []byte(gestor.NewID[string]("x")), CreatedAt: at, ExpiresAt: at.Add(time.Hour),
		}
		_, err := e.Propose(t.Context(), command.Command{At: at, Actor: actor, Op: command.CreateSession{Session: session}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// seqs are the entries in all files of dir.
func seqs(t *testing.T, dir string) map[float64]int {
	t.Helper()
	out := map[float64]int{}
	names, err := filepath.Glob(filepath.Join(dir, auditDir, "*"+auditSuffix))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, l := range lines(t, name) {
			seq, ok := l["seq"].(float64)
			if !ok || l["action"] == "" || l["at"] == "" {
				t.Fatalf("%s: %v", name, l)
			}
			out[seq]++
		}
	}
	return out
}

func newest(t *testing.T, e *engine.Engine) int64 {
	t.Helper()
	entries, _, err := e.View(gestor.SystemScope()).AuditEntries(t.Context(), gestor.Page{Size: 1})
	if err != nil || len(entries) == 0 {
		t.Fatal(err)
	}
	return entries[0].Seq
}

// complete fails unless dir holds each entry of e once.
func complete(t *testing.T, e *engine.Engine, dir string) {
	t.Helper()
	got, all := seqs(t, dir), 0
	for seq := int64(0); ; {
		page, err := e.View(gestor.SystemScope()).AuditAfter(t.Context(), seq, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			if all++; got[float64(a.Seq)] != 1 {
				t.Errorf("entry %d is there %d times", a.Seq, got[float64(a.Seq)])
			}
		}
		seq = page[len(page)-1].Seq
	}
	if len(got) != all {
		t.Errorf("%d entries in the files, %d in the state", len(got), all)
	}
}

// has tells whether an entry is in the files; it only looks, as the mirror may be at work.
func has(t *testing.T, dir string, seq int64) func() bool {
	t.Helper()
	return func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, auditDir, "*"+auditSuffix))
		for _, name := range names {
			raw, _ := os.ReadFile(name)
			for text := range bytes.Lines(raw) {
				var l line
				if json.Unmarshal(text, &l) == nil && l.Seq == seq {
					return true
				}
			}
		}
		return false
	}
}

func TestMirror_HasEachEntryOnceAlsoAfterACrashAndWithAClockThatJumps(t *testing.T) {
	e, dir := enginetest.New(t), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, auditDir), 0o750); err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 11, 23, 23, 59, 0, 0, time.UTC)
	change(t, e, day, 3)
	change(t, e, day.Add(24*time.Hour), 2) // the clock jumps ahead
	change(t, e, day, 3)                   // and back
	mirrored(t, e, dir, has(t, dir, newest(t, e)))
	complete(t, e, dir)

	name := filepath.Join(dir, auditDir, "2026-11-23.jsonl")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range []string{"", `{"seq":`, "\x00\x00\x00\n", "nonsense\n{\"seq\":1}\n"} {
		cut := raw[:len(raw)-40] // a crash took the end of the last line, and left something
		if err := os.WriteFile(name, append(append([]byte(nil), cut...), torn...), 0o600); err != nil {
			t.Fatal(err)
		}
		mirrored(t, e, dir, has(t, dir, newest(t, e)))
		complete(t, e, dir)
	}
}

func TestMirror_FollowsWhatHappensWhileItRuns(t *testing.T) {
	e, dir := enginetest.New(t), t.TempDir()
	sub := e.Watch(state.Audit)
	defer sub.Close()
	m := NewMirror(dir, e.View(gestor.SystemScope()).AuditAfter, sub.C, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for range 5 {
		change(t, e, time.Now(), 20)
		await(t, has(t, dir, newest(t, e)))
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	complete(t, e, dir)
}

func TestMirror_SetsFilesOfAnotherHistoryAside(t *testing.T) {
	e, dir := enginetest.New(t), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, auditDir), 0o750); err != nil {
		t.Fatal(err)
	}
	other := `{"seq":1,"at":"2020-01-01T00:00:00Z","actor_kind":"user","action":"app.delete"}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, auditDir, "2020-01-01.jsonl"), []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	change(t, e, time.Now(), 3)
	mirrored(t, e, dir, has(t, dir, newest(t, e)))
	complete(t, e, dir)
	kept, err := filepath.Glob(filepath.Join(dir, auditDir, "superseded-*", "2020-01-01.jsonl"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("the other history is gone: %v %v", kept, err)
	}
}

func TestMirror_WaitsForAStateThatIsBehindTheFiles(t *testing.T) {
	var asked []int64
	m := NewMirror(t.TempDir(), func(_ context.Context, seq int64, _ int) ([]gestor.AuditEntry, error) {
		asked = append(asked, seq)
		return nil, nil
	}, nil, slog.New(slog.DiscardHandler))
	last, err := m.copy(t.Context(), line{Seq: 70})
	if err != nil || last.Seq != 70 || len(asked) != 1 {
		t.Fatalf("got %v, %v after reading behind %v", last, err, asked)
	}
}

func TestMirror_FindsTheLastLineOfALargeFile(t *testing.T) {
	dir := t.TempDir()
	m := NewMirror(dir, nil, nil, slog.New(slog.DiscardHandler))
	if err := os.MkdirAll(m.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range int64(5000) {
		if err := m.add([]line{{Seq: i + 1, At: at, Kind: "user", Action: "app.update", Object: "app_0123456789abcdef0123456789"}}); err != nil {
			t.Fatal(err)
		}
	}
	last, err := m.position()
	if err != nil || last.Seq != 5000 {
		t.Fatalf("got %d, %v", last.Seq, err)
	}
}

func TestMirror_WritesLinesWhoseHashesCanBeChecked(t *testing.T) {
	e, dir := enginetest.New(t), t.TempDir()
	day := time.Date(2026, 11, 23, 23, 59, 0, 0, time.UTC)
	change(t, e, day, 2) // of level 1, maybe: without hashes
	system := gestor.SystemActor("test")
	enginetest.Propose(t, e, system, command.PutServer{Server: gestor.Server{ID: "srv_1", Name: "ctl1", PeerAddress: "ctl1:8444", Level: command.Level}})
	enginetest.Propose(t, e, system, command.RaiseLevel{Level: 2})
	change(t, e, day, 3)
	change(t, e, day.Add(time.Hour), 3)
	mirrored(t, e, dir, has(t, dir, newest(t, e)))
	names, err := filepath.Glob(filepath.Join(dir, auditDir, "*"+auditSuffix))
	if err != nil || len(names) != 2 {
		t.Fatalf("got %v, %v", names, err)
	}
	var chain auditlog.Chain
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		err = auditlog.Read(bytes.NewReader(raw), func(l *auditlog.Line) error {
			for _, p := range chain.Add(l) {
				t.Error(p)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if chain.Checked < 6 {
		t.Errorf("%d hashes were checked, %d entries have none", chain.Checked, chain.Without)
	}
}
