package task

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/agent/internal/journal"
	"github.com/saas-gestor/gestor/agent/internal/logs"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

type executor func(ctx context.Context, t Task, out Sink) error

func (executor) Kind() string { return "test" }

func (e executor) Run(ctx context.Context, t Task, out Sink) (*agentv1.TaskResult, error) {
	return nil, e(ctx, t, out)
}

// rig is a manager over a real journal and spool; all its waiting is on the clock of the test's bubble.
type rig struct {
	t    *testing.T
	dir  string
	m    *Manager
	stop func()
}

func newRig(t *testing.T, dir string, e executor) *rig {
	t.Helper()
	j, err := journal.Open(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := logs.OpenStore(logs.Options{Dir: filepath.Join(dir, "spool"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	m := New(Options{Executors: map[string]Executor{"test": e}, Journal: j, Logs: store, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	r := &rig{t: t, dir: dir, m: m}
	r.stop = func() {
		cancel()
		<-done
		store.Close()
		_ = j.Close()
	}
	return r
}

func (r *rig) assign(id string, fence uint64, resource string, edit ...func(*agentv1.TaskSpec)) {
	spec := &agentv1.TaskSpec{Id: id, Kind: "test", Attempt: 1, Fence: fence, Resource: resource}
	for _, e := range edit {
		e(spec)
	}
	r.m.Assign(&agentv1.Assignment{Task: spec})
	synctest.Wait()
}

// finished is what a server would be told now of tasks that ended.
func (r *rig) finished() map[string]*agentv1.TaskFinished {
	all := map[string]*agentv1.TaskFinished{}
	r.m.Resync()
	for _, m := range r.m.Pending() {
		if f := m.GetFinished(); f != nil {
			all[f.GetTaskId()] = f
		}
	}
	return all
}

func (r *rig) wants(id string, outcome agentv1.Outcome, words string) {
	r.t.Helper()
	f := r.finished()[id]
	if f.GetOutcome() != outcome || !strings.Contains(f.GetError(), words) {
		r.t.Errorf("%s ended with %v, want %s and %q", id, f, outcome, words)
	}
}

func untilDone(ctx context.Context, _ Task, _ Sink) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestManager_EndsATaskAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), untilDone)
		defer r.stop()
		r.assign("a", 1, "app/x", func(s *agentv1.TaskSpec) { s.Deadline = timestamppb.New(time.Now().Add(time.Hour)) })
		<-time.After(time.Hour - time.Second)
		synctest.Wait()
		if len(r.finished()) != 0 {
			t.Error("it ended before its deadline")
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		r.wants("a", agentv1.Outcome_OUTCOME_FAILED, "time is up")
	})
}

func TestManager_CancelsWhatRunsAndWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), untilDone)
		defer r.stop()
		r.assign("runs", 1, "app/x")
		r.assign("waits", 2, "app/x")
		r.m.Cancel(&agentv1.CancelTask{TaskId: "waits", Fence: 2, Reason: "not needed"})
		r.m.Cancel(&agentv1.CancelTask{TaskId: "runs", Fence: 7})
		synctest.Wait()
		r.wants("waits", agentv1.Outcome_OUTCOME_CANCELLED, "not needed")
		if r.finished()["runs"] != nil {
			t.Error("a cancellation with another fence had an effect")
		}
		r.m.Cancel(&agentv1.CancelTask{TaskId: "runs", Fence: 1})
		synctest.Wait()
		r.wants("runs", agentv1.Outcome_OUTCOME_CANCELLED, "")
	})
}

func TestManager_ContainsAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), func(_ context.Context, x Task, _ Sink) error {
			if x.Spec.GetId() == "bad" {
				panic("a broken invariant")
			}
			return nil
		})
		defer r.stop()
		r.assign("bad", 1, "app/x")
		r.assign("good", 2, "app/x")
		r.wants("bad", agentv1.Outcome_OUTCOME_FAILED, "the agent broke")
		r.wants("good", agentv1.Outcome_OUTCOME_SUCCEEDED, "")
	})
}

func TestManager_RunsOneTaskPerResourceInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan string, 10)
		r := newRig(t, t.TempDir(), func(ctx context.Context, x Task, _ Sink) error {
			begun <- x.Spec.GetId()
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute):
			}
			return ctx.Err()
		})
		defer r.stop()
		for i, id := range []string{"a", "b", "c"} {
			r.assign(id, uint64(i+1), "app/x")
		}
		r.assign("other", 4, "app/y")
		if r.m.Busy() != 2 || len(begun) != 2 {
			t.Errorf("%d tasks run, want one of each resource", r.m.Busy())
		}
		<-time.After(3*time.Minute + time.Second)
		synctest.Wait()
		close(begun)
		var order []string
		for id := range begun {
			order = append(order, id)
		}
		if !slices.Equal(order, []string{"a", "other", "b", "c"}) {
			t.Errorf("the order was %v", order)
		}
	})
}

func TestManager_GivesATaskItsTimeWhateverTheDeadlineOfAnotherClockSays(t *testing.T) {
	for name, off := range map[string]time.Duration{"a month ago": -30 * 24 * time.Hour, "in a month": 30 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				r := newRig(t, dir, untilDone)
				limited := func(s *agentv1.TaskSpec) {
					s.Deadline, s.TimeLeft = timestamppb.New(time.Now().Add(off)), durationpb.New(time.Hour)
				}
				r.assign("a", 1, "app/x", limited)
				r.assign("next", 2, "app/x", limited) // it waits, and its time goes by
				<-time.After(59 * time.Minute)
				if len(r.finished()) != 0 {
					t.Error("one ended before its time was up")
				}
				<-time.After(2 * time.Minute)
				synctest.Wait()
				r.wants("a", agentv1.Outcome_OUTCOME_FAILED, "it had 1h0m0s")
				r.wants("next", agentv1.Outcome_OUTCOME_FAILED, "it had 1h0m0s")
				r.stop()
			})
		})
	}
}

func TestManager_ResumesWhatAnEarlierAgentBegan(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dir, untilDone)
		r.assign("a", 5, "app/x")
		r.stop()
		if r.m.Busy() != 0 {
			t.Error("a task outlived its manager")
		}
		resumed := false
		r = newRig(t, dir, func(_ context.Context, x Task, _ Sink) error {
			resumed = x.Resumed
			return nil
		})
		defer r.stop()
		synctest.Wait()
		r.wants("a", agentv1.Outcome_OUTCOME_SUCCEEDED, "")
		if !resumed {
			t.Error("it was not told that it goes on")
		}
	})
}

func TestManager_RefusesAStaleFenceAndAnUnknownKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), func(context.Context, Task, Sink) error { return Retryable(errors.New("the network is down")) })
		defer r.stop()
		r.assign("new", 9, "app/x")
		r.assign("old", 8, "app/x")
		r.assign("odd", 10, "app/x", func(s *agentv1.TaskSpec) { s.Kind = "dance" })
		r.wants("new", agentv1.Outcome_OUTCOME_FAILED, "network")
		if !r.finished()["new"].GetRetryable() {
			t.Error("another attempt may help, which was not said")
		}
		r.wants("old", agentv1.Outcome_OUTCOME_FAILED, "newer than 8")
		r.wants("odd", agentv1.Outcome_OUTCOME_FAILED, "dance")
	})
}
