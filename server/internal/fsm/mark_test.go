package fsm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestMark_GivesTheSameHashesHoweverTheEntriesCameTogether(t *testing.T) {
	together, apart := newWorld(t), newWorld(t)
	entries := []Entry{
		{Index: 11, Data: entryOf(t, command.Command{At: start, Actor: alice, Op: command.SetNodeDraining{ID: "nod_1", Draining: true}})},
		{Index: 12, Data: entryOf(t, command.Command{At: start, Actor: alice, Op: command.Mark{ID: "m"}})},
		{Index: 13, Data: entryOf(t, command.Command{At: start, Actor: alice, Op: command.SetNodeDraining{ID: "nod_1"}})},
	}
	if got := together.fsm.Apply(entries); len(got) != 3 {
		t.Fatalf("got %d results", len(got))
	}
	for _, e := range entries {
		apart.fsm.Apply([]Entry{e})
	}
	one, two := hashesAt(t, together, 12), hashesAt(t, apart, 12)
	if one.All != two.All || one.All == "" {
		t.Errorf("got %s and %s", one.All, two.All)
	}
	if one.Tables["nodes"] == "" || one.All == together.hash() {
		t.Error("the hash is not that of the state at the mark")
	}
}

func hashesAt(t *testing.T, w *world, revision uint64) state.Hashes {
	t.Helper()
	h, err := w.fsm.Mark(t.Context(), revision)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestMark_NamesTheTableThatDiffers(t *testing.T) {
	one, two := newWorld(t), newWorld(t)
	two.must(command.SetNodeDraining{ID: "nod_1", Draining: true})
	one.index = two.index
	a := hashesAt(t, one, one.must(command.Mark{ID: "m"}).Revision)
	b := hashesAt(t, two, two.must(command.Mark{ID: "m"}).Revision)
	for table, hash := range a.Tables {
		if differs := table == "nodes"; differs != (hash != b.Tables[table]) {
			t.Errorf("table %s: %s and %s", table, hash, b.Tables[table])
		}
	}
}

func TestMark_IsForgottenAfterManyMoreAndUnknownBefore(t *testing.T) {
	w := newWorld(t)
	first := w.must(command.Mark{ID: "m"}).Revision
	hashesAt(t, w, first)
	for range keptMarks {
		w.must(command.Mark{ID: "m"})
	}
	for _, revision := range []uint64{first, w.index + 1} {
		if _, err := w.fsm.Mark(t.Context(), revision); !errors.Is(err, fault.KindNotFound) {
			t.Errorf("revision %d: got %v", revision, err)
		}
	}
}

func TestClose_EndsWhatIsBeingComputed(t *testing.T) {
	w := newWorld(t)
	revision := w.must(command.Mark{ID: "m"}).Revision
	w.fsm.Close()
	if _, err := w.fsm.Mark(t.Context(), revision); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	revision = w.must(command.Mark{ID: "m"}).Revision
	if _, err := w.fsm.Mark(t.Context(), revision); !errors.Is(err, fault.KindExhausted) {
		t.Errorf("a closed machine computes: %v", err)
	}
}

func TestRaiseLevel_RefusesWhatAServerDoesNotUnderstand(t *testing.T) {
	w := newWorld(t)
	w.actor = system
	w.must(command.PutServer{Server: gestor.Server{ID: "srv_1", Name: "ctl1", Version: "9.0", Level: 1}})
	w.must(command.RaiseLevel{Level: 1}) // has it already
	w.refuses(fault.KindConflict, command.RaiseLevel{Level: command.Level})
	w.must(command.PutServer{Server: gestor.Server{ID: "srv_1", Name: "ctl1", Version: "9.0", Level: command.Level}})
	w.must(command.RaiseLevel{Level: command.Level})
	w.refuses(fault.KindConflict, command.RaiseLevel{Level: command.Level + 1})
}

func TestEnrollServer_RefusesAProgramThatDoesNotUnderstandTheState(t *testing.T) {
	w := newWorld(t)
	c := &change{Txn: begin(t, w), ctx: t.Context()}
	if err := c.checkNewcomer(gestor.Server{Name: "ctl2", Level: command.Level}); err != nil {
		t.Errorf("a server of this level is refused: %v", err)
	}
	if err := c.checkNewcomer(gestor.Server{Name: "ctl2"}); fault.KindOf(err) != fault.KindConflict {
		t.Errorf("a server of the first level: got %v", err)
	}
	if err := c.checkLevel(command.Mark{}); err != nil {
		t.Error(err)
	}
}

func begin(t *testing.T, w *world) *state.Txn {
	t.Helper()
	x, err := w.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Rollback(context.Background()) })
	return x
}

func TestSnapshot_NamesItsLevelAndItsTime(t *testing.T) {
	w := newWorld(t)
	s, err := w.fsm.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Release() }()
	if got := s.header.GetLevel(); got != released || time.Since(s.header.GetAt().AsTime()) > time.Minute {
		t.Errorf("got level %d, %v", got, s.header.GetAt().AsTime())
	}
}

func TestLevel_OfCommandsAndStateAreOne(t *testing.T) {
	if command.Level != state.NewestLevel() {
		t.Errorf("commands have level %d, the state %d: every level has a migration, empty or not", command.Level, state.NewestLevel())
	}
}
