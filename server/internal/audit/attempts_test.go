package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// book keeps what is written, and fails if told to.
type book struct {
	entries []gestor.AuditEntry
	writes  int
	err     error
}

func (b *book) Propose(_ context.Context, c command.Command) (command.Receipt, error) {
	if b.err != nil {
		return command.Receipt{}, b.err
	}
	b.writes++
	b.entries = append(b.entries, c.Op.(command.RecordAudit).Entries...)
	return command.Receipt{}, nil
}

func gathering(t *testing.T, o AttemptOptions) (*Attempts, *book, *time.Time) {
	t.Helper()
	b, now := &book{}, time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)
	o.Engine, o.Now = b, func() time.Time { return now }
	return NewAttempts(o), b, &now
}

func by(user string) Attempt {
	return Attempt{
		Actor:     gestor.Actor{Kind: "user", ID: user, TenantID: "ten_1", SessionID: "ses_1", Address: "192.0.2.7", Action: "app.delete"},
		Procedure: "/gestor.v1.AppService/DeleteApp", Reason: "permission",
	}
}

func flush(t *testing.T, a *Attempts) {
	t.Helper()
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAttempts_WritesTheFirstAtOnceAndRepetitionsOnceInAWindow(t *testing.T) {
	a, b, now := gathering(t, AttemptOptions{})
	a.Refused(t.Context(), by("usr_1"))
	flush(t, a)
	if len(b.entries) != 1 || b.entries[0].TenantID != "ten_1" || b.entries[0].Severity != gestor.AuditWarning || strings.Contains(b.entries[0].Detail, "attempts") {
		t.Fatalf("got %+v", b.entries)
	}
	for range 1000 {
		a.Refused(t.Context(), by("usr_1"))
		flush(t, a)
	}
	if len(b.entries) != 1 {
		t.Fatalf("%d entries within the window", len(b.entries))
	}
	*now = now.Add(time.Minute)
	flush(t, a)
	if len(b.entries) != 2 || !strings.Contains(b.entries[1].Detail, `"attempts":1000`) {
		t.Fatalf("got %+v", b.entries[1:])
	}
	*now = now.Add(time.Minute)
	flush(t, a)
	if len(b.entries) != 2 || len(a.kinds) != 0 {
		t.Errorf("what is quiet stays: %d entries, %d kinds", len(b.entries), len(a.kinds))
	}
}

func TestAttempts_BoundsWhatOneCallerAndAllTogetherWriteAndCountsTheRest(t *testing.T) {
	a, b, now := gathering(t, AttemptOptions{Party: 3, All: 10})
	for i := range 50 {
		t1 := by("usr_1")
		t1.Object = fmt.Sprint("app_", i)
		a.Refused(t.Context(), t1)
		a.Refused(t.Context(), by(fmt.Sprint("usr_other_", i)))
	}
	flush(t, a)
	flush(t, a)
	own := 0
	for _, e := range b.entries {
		if e.Actor.ID == "usr_1" {
			own++
		}
	}
	last := b.entries[len(b.entries)-1]
	if len(b.entries) != 11 || own > 3 || last.Action != ActionOmitted || last.Detail != `{"attempts":90}` || b.writes != 1 {
		t.Errorf("%d entries, %d of one caller, %d writes, the last %+v", len(b.entries), own, b.writes, last)
	}
	*now = now.Add(time.Minute)
	a.Refused(t.Context(), by("usr_1"))
	flush(t, a)
	if len(b.entries) != 12 {
		t.Errorf("a new window has no room: %d", len(b.entries))
	}
}

func TestAttempts_TakesOfNobodyKnownOnlyTheNetwork(t *testing.T) {
	a, b, _ := gathering(t, AttemptOptions{})
	for i := range 200 {
		a.Refused(t.Context(), Attempt{
			Actor:     gestor.Actor{Kind: "anonymous", Name: "hunter2", Address: fmt.Sprint("198.51.100.", i), UserAgent: fmt.Sprint("agent ", i), Action: "session.create"},
			Procedure: fmt.Sprint("/made/up", i), Reason: "password",
		})
	}
	flush(t, a)
	if len(b.entries) != 1 || b.entries[0].Actor.Address != "198.51.100.0/24" || b.entries[0].Actor.UserAgent != "" || b.entries[0].Actor.Name != "" {
		t.Errorf("got %+v", b.entries)
	}
}

func TestAttempts_KeepsItsMemorySmall(t *testing.T) {
	a, b, _ := gathering(t, AttemptOptions{Kinds: 100, All: 10})
	for i := range 10_000 {
		a.Refused(t.Context(), by(fmt.Sprint("usr_", i)))
	}
	if len(a.kinds) != 100 {
		t.Errorf("%d kinds in memory", len(a.kinds))
	}
	flush(t, a)
	if last := b.entries[len(b.entries)-1]; last.Detail != `{"attempts":9990}` {
		t.Errorf("got %s", last.Detail)
	}
}

func TestAttempts_KeepsWhatCouldNotBeWritten(t *testing.T) {
	a, b, now := gathering(t, AttemptOptions{Kinds: 1})
	b.err = fault.Unavailable("there is no leader")
	a.Refused(t.Context(), by("usr_1"))
	a.Refused(t.Context(), by("usr_2"))
	if err := a.Flush(t.Context()); !errors.Is(err, fault.KindUnavailable) {
		t.Fatal(err)
	}
	a.Refused(t.Context(), by("usr_1"))
	b.err = nil
	*now = now.Add(time.Second)
	flush(t, a)
	if len(b.entries) != 2 || !strings.Contains(b.entries[0].Detail, `"attempts":2`) || b.entries[1].Detail != `{"attempts":1}` {
		t.Errorf("got %+v", b.entries)
	}
}

func TestAttempts_ForgetsWhatAStateOfLevelOneHasNoPlaceFor(t *testing.T) {
	a, b, _ := gathering(t, AttemptOptions{})
	b.err = fault.Conflict("this needs level 2, the state has level 1")
	a.Refused(t.Context(), by("usr_1"))
	flush(t, a)
	b.err = nil
	flush(t, a)
	if len(b.entries) != 0 {
		t.Errorf("got %+v", b.entries)
	}
}
