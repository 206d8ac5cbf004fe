package alarm

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/fsm"
	"github.com/saas-gestor/gestor/server/internal/fsm/fsmtest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

type machine struct {
	*state.Store
	mu      sync.Mutex
	fsm     *fsm.FSM
	applied uint64
	down    bool
}

func (m *machine) Propose(_ context.Context, c command.Command) (command.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return command.Receipt{}, errors.New("nobody leads")
	}
	m.applied++
	return fsmtest.Apply(m.fsm, m.applied, c)
}

func newMachine(t *testing.T, level uint32) *machine {
	t.Helper()
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	m := &machine{Store: store, fsm: fsm.New(store, "test")}
	op := command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1", SetupHash: []byte("x")}, Level: level}
	if _, err := m.Propose(t.Context(), command.Command{At: time.Now(), Actor: gestor.SystemActor("test"), Op: op}); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) kinds(t *testing.T) []string {
	t.Helper()
	all, err := m.View(gestor.SystemScope()).EventsChangedSince(t.Context(), 0, state.EventFilter{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range all {
		kinds = append(kinds, e.Kind+" "+e.ObjectID)
	}
	return kinds
}

func condition(bad bool) Condition {
	return Condition{
		Object: "srv_2", Bad: bad,
		Raised:  gestor.Event{Severity: gestor.SeverityCritical, Kind: gestor.EventServerUnreachable, ObjectKind: "server", Title: "gone"},
		Cleared: gestor.Event{Severity: gestor.SeverityInfo, Kind: gestor.EventServerBack, ObjectKind: "server", Title: "back"},
	}
}

func tell(t *testing.T, w *Watch, all ...bool) {
	t.Helper()
	for _, bad := range all {
		if err := w.tell(t.Context(), condition(bad)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTell_SaysOnceWhatLastsAndOnceWhenItIsOver(t *testing.T) {
	m := newMachine(t, 2)
	w := New(Options{Engine: m})
	tell(t, w, false, true, true, false, true, true)
	if got := m.kinds(t); len(got) != 0 {
		t.Errorf("a moment without an answer is told: %v", got)
	}
	tell(t, w, true, true, true)
	tell(t, New(Options{Engine: m, Patience: 1}), true, true) // another server leads
	tell(t, w, false, false)
	tell(t, New(Options{Engine: m}), false)
	if got, want := m.kinds(t), []string{"server.unreachable srv_2", "server.back srv_2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTell_TriesAgainWhatCouldNotBeWritten(t *testing.T) {
	m := newMachine(t, 2)
	w := New(Options{Engine: m, Patience: 1})
	m.down = true
	if err := w.tell(t.Context(), condition(true)); err == nil {
		t.Error("a failure went unnoticed")
	}
	m.down = false
	tell(t, w, true)
	if got := m.kinds(t); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestRunTerm_LooksUntilTheTermEnds(t *testing.T) {
	m := newMachine(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	looks := make(chan struct{}, 100)
	w := New(Options{Engine: m, Every: time.Millisecond, Patience: 2, Look: func(context.Context) []Condition {
		looks <- struct{}{}
		return []Condition{condition(true)}
	}})
	done := make(chan error)
	go func() { done <- w.RunTerm(ctx) }()
	for range 4 { // the third begins when the second has been told
		<-looks
	}
	cancel()
	if err := <-done; err != nil || len(m.kinds(t)) != 1 {
		t.Errorf("%v, %v", err, m.kinds(t))
	}
}

func TestTell_WaitsInSilenceForAStateThatHasEvents(t *testing.T) {
	m := newMachine(t, 1)
	w := New(Options{Engine: m, Patience: 1})
	tell(t, w, true, true)
	raise := command.Command{At: time.Now(), Actor: gestor.SystemActor("test"), Op: command.RaiseLevel{Level: 2}}
	if _, err := m.Propose(t.Context(), raise); err != nil {
		t.Fatal(err)
	}
	tell(t, w, true, true)
	if got := m.kinds(t); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
