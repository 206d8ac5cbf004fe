package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/dispatch"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

var times = dispatch.Times{
	Lease: 300 * time.Millisecond, Margin: 50 * time.Millisecond, Overdue: 100 * time.Millisecond, Explain: time.Millisecond,
}

// system is a dispatcher over the real state machine, with one connected node.
type system struct {
	*nodestest.Engine
	t    *testing.T
	disp *dispatch.Dispatcher
	node gestor.NodeID
}

func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{Engine: nodestest.NewEngine(t), t: t}
	s.disp = dispatch.New(dispatch.Options{Engine: s.Engine, Times: times})
	s.node = s.AddNode(t, "web-1")
	s.Must(t, command.SetNodeStatus{ID: s.node, Status: gestor.NodeConnected})
	return s
}

// lead runs a term until the test ends or stop is called.
func (s *system) lead() (stop func()) {
	s.t.Helper()
	return nodestest.Run(s.t, s.disp.RunTerm)
}

func (s *system) add(id gestor.TaskID, set func(*gestor.Task)) {
	s.t.Helper()
	task := gestor.Task{
		ID: id, TenantID: nodestest.Tenant, Kind: gestor.TaskRetire, NodeID: s.node, Timeout: time.Minute, MaxAttempts: 2, OnLost: gestor.LostRetry,
	}
	if set != nil {
		set(&task)
	}
	s.Must(s.t, command.CreateTask{Task: task})
}

func (s *system) await(id gestor.TaskID, what string, ok func(gestor.Task) bool) gestor.Task {
	s.t.Helper()
	var task gestor.Task
	s.Await(s.t, what, func(v *state.View) bool {
		var err error
		task, err = v.Task(context.Background(), id)
		return err == nil && ok(task)
	})
	return task
}

func is(want gestor.TaskState) func(gestor.Task) bool {
	return func(t gestor.Task) bool { return t.State == want }
}

func TestRunTerm_LeasesAndTakesBackWhatIsNotRenewed(t *testing.T) {
	for onLost, want := range map[gestor.OnLost]func(gestor.Task) bool{
		gestor.LostRetry: func(t gestor.Task) bool { return t.State == gestor.TaskLeased && t.Attempt == 2 },
		gestor.LostHold:  is(gestor.TaskLost),
	} {
		t.Run(string(onLost), func(t *testing.T) {
			s := newSystem(t)
			s.add("tsk_1", func(t *gestor.Task) { t.OnLost = onLost })
			s.lead()
			first := s.await("tsk_1", "a lease", is(gestor.TaskLeased))
			began := time.Now()
			task := s.await("tsk_1", "what follows", want)
			if early := times.Lease - time.Since(began); early > 0 {
				t.Fatalf("taken back %s too early", early)
			}
			if task.State == gestor.TaskLeased && task.Fence <= first.Fence {
				t.Fatalf("fence %d after %d", task.Fence, first.Fence)
			}
		})
	}
}

func TestRenew_KeepsALeaseAsLongAsItIsCalled(t *testing.T) {
	s := newSystem(t)
	s.add("tsk_1", nil)
	s.lead()
	task := s.await("tsk_1", "a lease", is(gestor.TaskLeased))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(4 * times.Lease); time.Now().Before(until); {
		<-tick.C
		s.disp.Renew(s.node, []nodes.Held{{Task: "tsk_1", Fence: task.Fence}, {Task: "tsk_1", Fence: 1}}, time.Now())
		if now := s.await("tsk_1", "the task", func(gestor.Task) bool { return true }); now.Fence != task.Fence || !now.State.Held() {
			t.Fatalf("task = %+v", now)
		}
	}
	s.await("tsk_1", "the next attempt once renewals stop", func(t gestor.Task) bool { return t.Attempt == 2 })
}

func TestRunTerm_NewLeaderGrantsALeaseAnew(t *testing.T) {
	s := newSystem(t)
	s.add("tsk_1", nil)
	stop := s.lead()
	s.await("tsk_1", "a lease", is(gestor.TaskLeased))
	stop()
	<-time.After(2 * times.Lease) // nobody leads for longer than a lease
	began := time.Now()
	s.lead()
	s.await("tsk_1", "the next attempt", func(t gestor.Task) bool { return t.Attempt == 2 })
	if early := times.Lease - time.Since(began); early > 0 {
		t.Fatalf("the new leader took it back %s too early", early)
	}
}

func TestRunTerm_StopsWhatIsPastItsDeadlineEvenIfItsAgentDoesNot(t *testing.T) {
	s := newSystem(t)
	s.add("tsk_1", func(t *gestor.Task) { t.Timeout = 50 * time.Millisecond })
	s.lead()
	task := s.await("tsk_1", "a lease", is(gestor.TaskLeased))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // an agent that lives and does nothing
		for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			s.disp.Renew(s.node, []nodes.Held{{Task: "tsk_1", Fence: task.Fence}}, time.Now())
		}
	}()
	s.await("tsk_1", "a cancel", func(t gestor.Task) bool { return t.Cancelling })
	if failed := s.await("tsk_1", "the failure", is(gestor.TaskFailed)); !strings.Contains(failed.Error, "did not end within 50ms") {
		t.Fatalf("error = %q", failed.Error)
	}
}

func TestRunTerm_DoesNotEndATaskByTheClockOfTheLeaderBefore(t *testing.T) {
	for name, jump := range map[string]time.Duration{"an hour behind": -time.Hour, "an hour ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			s.add("tsk_1", nil)
			lease := command.Command{At: time.Now().Add(jump), Actor: gestor.SystemActor("dispatch"), Op: command.LeaseTask{ID: "tsk_1", Node: s.node}}
			r, err := s.Propose(t.Context(), lease)
			if err != nil {
				t.Fatal(err)
			}
			s.lead()
			held := nodes.Held{Task: "tsk_1", Fence: r.Revision}
			for until := time.Now().Add(4 * times.Lease); time.Now().Before(until); {
				s.disp.Renew(s.node, []nodes.Held{held}, time.Now())
				select {
				case <-t.Context().Done():
				case <-time.After(times.Lease / 10):
				}
			}
			if task := s.await("tsk_1", "the task", func(gestor.Task) bool { return true }); task.Fence != r.Revision || task.Cancelling || !task.State.Held() {
				t.Errorf("the task is %+v", task)
			}
		})
	}
}

func TestRunTerm_ExplainsWhyTasksWait(t *testing.T) {
	s := newSystem(t)
	off := s.AddNode(t, "web-2")
	s.add("tsk_1", func(t *gestor.Task) { t.NodeID = off })
	s.lead()
	s.await("tsk_1", "a reason", func(t gestor.Task) bool { return t.Waiting == "node web-2 has never connected" })
	s.Must(t, command.SetNodeStatus{ID: off, Status: gestor.NodeLost})
	s.await("tsk_1", "a new reason", func(t gestor.Task) bool { return strings.HasPrefix(t.Waiting, "node web-2 is not connected since ") })
	s.Must(t, command.SetNodeStatus{ID: off, Status: gestor.NodeConnected})
	if task := s.await("tsk_1", "a lease", is(gestor.TaskLeased)); task.Waiting != "" {
		t.Fatalf("still waits: %q", task.Waiting)
	}
}

func TestRunTerm_WaitsForTheTimeOfATask(t *testing.T) {
	s := newSystem(t)
	at := time.Now().Add(200 * time.Millisecond)
	s.add("tsk_1", func(t *gestor.Task) { t.NotBefore = at })
	s.lead()
	s.await("tsk_1", "a lease", is(gestor.TaskLeased))
	if time.Now().Before(at) {
		t.Fatal("leased before its time")
	}
}

func TestRunTerm_OneTaskAtATimePerResource(t *testing.T) {
	s := newSystem(t)
	for _, id := range []gestor.TaskID{"tsk_1", "tsk_2"} {
		s.add(id, func(t *gestor.Task) { t.Resource, t.Spec = "app/shop", resourceSpec(s.t, "app/shop") })
	}
	s.lead()
	first := s.await("tsk_1", "a lease", is(gestor.TaskLeased))
	s.await("tsk_2", "a reason", func(t gestor.Task) bool { return t.Waiting == "waits for retire of shop on web-1" })
	s.Must(t, command.FinishTask{ID: "tsk_1", Fence: first.Fence, Outcome: gestor.TaskSucceeded})
	s.await("tsk_2", "a lease", is(gestor.TaskLeased))
}

func TestCalls_CancelRetryAndDetect(t *testing.T) {
	s := newSystem(t)
	call := dispatch.Call{Actor: nodestest.Person()}
	id, err := s.disp.CreateDetect(t.Context(), call, &agentv1.Source{Repository: "https://git.example.com/shop"})
	if err != nil {
		t.Fatal(err)
	}
	task, err := s.disp.Cancel(t.Context(), call, id)
	if err != nil || task.State != gestor.TaskCancelled {
		t.Fatalf("cancelled: %+v, %v", task, err)
	}
	if _, err := s.disp.Retry(t.Context(), call, id); !errors.Is(err, fault.KindConflict) {
		t.Fatalf("retry of a cancelled task: %v", err)
	}
	stranger := dispatch.Call{Actor: gestor.Actor{Kind: "user", ID: "usr_2", TenantID: "ten_2"}}
	if _, err := s.disp.Cancel(t.Context(), stranger, id); !errors.Is(err, fault.KindNotFound) {
		t.Fatalf("cancel by another tenant: %v", err)
	}
}

func TestRunTerm_TellsWhatBecomesOfTheTasksOfALostNode(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(s *system, t *gestor.Task)
		want gestor.TaskState // once the lease has run out
		tell string           // at the end of the error
	}{
		"hold":       {func(_ *system, t *gestor.Task) { t.OnLost = gestor.LostHold }, gestor.TaskLost, "then retry the task or cancel it"},
		"no more":    {func(_ *system, t *gestor.Task) { t.MaxAttempts = 1 }, gestor.TaskLost, "that was attempt 1 of 1"},
		"same node":  {func(*system, *gestor.Task) {}, gestor.TaskQueued, "it is tried again there"},
		"other node": {func(s *system, t *gestor.Task) { t.NodeID, t.Candidates = "", []gestor.NodeID{s.node, "nod_web-2"} }, gestor.TaskQueued, "on any node that may run it"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			s.AddNode(t, "web-2")
			s.add("tsk_1", func(t *gestor.Task) { c.set(s, t) })
			s.lead()
			s.await("tsk_1", "a lease", is(gestor.TaskLeased))
			s.Must(t, command.SetNodeStatus{ID: s.node, Status: gestor.NodeLost})
			task := s.await("tsk_1", "its end", is(c.want))
			if !strings.HasPrefix(task.Error, "node web-1 was lost: it is not connected since ") || !strings.HasSuffix(task.Error, c.tell) {
				t.Fatalf("error = %q", task.Error)
			}
		})
	}
}

func TestRunTerm_GivesABuildOfALostNodeToAnotherThatMayRunIt(t *testing.T) {
	s := newSystem(t)
	other := s.AddNode(t, "web-2")
	s.Must(t, command.SetNodeStatus{ID: other, Status: gestor.NodeConnected})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, s.node, other)
	s.add("tsk_1", func(t *gestor.Task) {
		t.Kind, t.AppID, t.NodeID, t.Candidates = gestor.TaskBuild, app, "", []gestor.NodeID{s.node, other}
	})
	s.lead()
	first := s.await("tsk_1", "a lease", is(gestor.TaskLeased))
	if first.NodeID != s.node {
		t.Fatalf("leased to %s first", first.NodeID)
	}
	s.Must(t, command.SetNodeStatus{ID: s.node, Status: gestor.NodeLost})
	again := s.await("tsk_1", "another attempt", func(t gestor.Task) bool { return t.State == gestor.TaskLeased && t.Attempt == 2 })
	if again.NodeID != other || again.Fence <= first.Fence {
		t.Fatalf("leased to %s with fence %d after %d", again.NodeID, again.Fence, first.Fence)
	}
}

func TestRunTerm_AWaitingReleaseTellsWhichNodeItWaitsFor(t *testing.T) {
	s := newSystem(t)
	s.add("tsk_1", func(t *gestor.Task) { t.Kind = gestor.TaskPrepare })
	s.lead()
	s.await("tsk_1", "a lease", is(gestor.TaskLeased))
	s.Must(t, command.SetNodeStatus{ID: s.node, Status: gestor.NodeLost})
	s.await("tsk_1", "the reason", func(t gestor.Task) bool {
		return t.State == gestor.TaskQueued && strings.HasPrefix(t.Waiting, "node web-1 is not connected since ")
	})
	s.Must(t, command.SetNodeStatus{ID: s.node, Status: gestor.NodeConnected})
	s.await("tsk_1", "the next attempt", func(t gestor.Task) bool { return t.State == gestor.TaskLeased && t.Attempt == 2 })
}

func TestExcuse_GivesEveryLeaseItsTimeAnew(t *testing.T) {
	s := newSystem(t)
	s.add("tsk_1", nil)
	s.lead()
	task := s.await("tsk_1", "a lease", is(gestor.TaskLeased))
	<-time.After(times.Lease * 2 / 3)
	began := time.Now()
	s.disp.Excuse()
	s.await("tsk_1", "the next attempt", func(t gestor.Task) bool { return t.Attempt > task.Attempt })
	if early := times.Lease - time.Since(began); early > 0 {
		t.Fatalf("taken back %s too early", early)
	}
}
