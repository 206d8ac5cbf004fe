package nodes_test

import (
	"context"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

func TestSession_CarriesOutWhatIsLeased(t *testing.T) {
	s := newSystem(t)
	got := make(chan *agentv1.TaskSpec, 1)
	a, _ := s.agent("web-1", func(ctx context.Context, j nodestest.Job) *agentv1.TaskFinished {
		got <- j.Spec
		return nodestest.Succeed(ctx, j)
	})
	s.awaitStatus(a.Node, gestor.NodeConnected)
	task := s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskSucceeded)
	if spec := <-got; spec.GetId() != "tsk_1" || spec.GetFence() != task.Fence || spec.GetAttempt() != 1 || spec.GetResource() != "task/tsk_1" ||
		!spec.GetDeadline().AsTime().Equal(task.Deadline) {
		t.Fatalf("spec = %v", spec)
	}
	if done := s.task("tsk_1"); done.StartedAt.IsZero() {
		t.Fatalf("task = %+v", done)
	}
}

func TestSession_BringsSecretsThatTheSpecDoesNotHold(t *testing.T) {
	s := newSystem(t)
	got := make(chan *agentv1.Secrets, 1)
	a, _ := s.agent("web-1", func(ctx context.Context, j nodestest.Job) *agentv1.TaskFinished {
		got <- j.Secrets
		return nodestest.Succeed(ctx, j)
	})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.Must(t, command.UpdateEnv{AppID: app, Set: map[string][]byte{"TOKEN": s.ring.Seal([]byte("hunter2"), gestor.EnvPlace(app, "TOKEN"))}})
	s.lease("tsk_1", gestor.TaskPrepare, app, a.Node, &agentv1.TaskSpec{})
	if sec := <-got; sec.GetEnv()["TOKEN"] != "hunter2" {
		t.Fatalf("secrets = %v", sec)
	}
}

func TestSession_FailsATaskWhoseSecretsCannotBeOpened(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", nodestest.Succeed)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.Must(t, command.UpdateEnv{AppID: app, Set: map[string][]byte{"TOKEN": []byte("not sealed")}})
	s.lease("tsk_1", gestor.TaskPrepare, app, a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskFailed)
}

func TestSession_GivesAReconnectingAgentNothingItHasAndAllItLacks(t *testing.T) {
	s := newSystem(t)
	release := make(chan struct{})
	a, stop := s.agent("web-1", func(ctx context.Context, j nodestest.Job) *agentv1.TaskFinished {
		<-release
		return nodestest.Succeed(ctx, j)
	})
	s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskRunning)
	s.awaitStatus(a.Node, gestor.NodeConnected)
	stop()
	s.awaitStatus(a.Node, gestor.NodeSuspect)
	s.lease("tsk_2", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	a.Start(t)
	s.awaitTask("tsk_2", gestor.TaskRunning)
	close(release)
	s.awaitTask("tsk_1", gestor.TaskSucceeded)
	s.awaitTask("tsk_2", gestor.TaskSucceeded)
	if got := a.Begun(); len(got) != 2 {
		t.Fatalf("began %v", got)
	}
}

func TestSession_TakesAResultThatWasFinishedWhileCutOff(t *testing.T) {
	s := newSystem(t)
	finish := make(chan struct{})
	a, stop := s.agent("web-1", func(ctx context.Context, j nodestest.Job) *agentv1.TaskFinished {
		<-finish
		return nodestest.Succeed(ctx, j)
	})
	s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskRunning)
	stop()
	close(finish)
	a.Start(t)
	s.awaitTask("tsk_1", gestor.TaskSucceeded)
}

func TestSession_StaleFenceIsAcknowledgedAndChangesNothing(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	first := s.lease("tsk_1", gestor.TaskRetire, "", node, &agentv1.TaskSpec{})
	s.Must(t, command.LoseTask{ID: "tsk_1", Fence: first.Fence})
	s.Must(t, command.LeaseTask{ID: "tsk_1", Node: node})
	r := s.raw(node, &agentv1.HeldTask{TaskId: "tsk_1", Fence: first.Fence})
	if c := r.hear().GetCancel(); c.GetFence() != first.Fence {
		t.Fatalf("the stale attempt was not stopped: %v", c)
	}
	if a := r.hear().GetAssign(); a.GetTask().GetFence() != s.task("tsk_1").Fence || a.GetTask().GetAttempt() != 2 {
		t.Fatalf("assigned %v", a)
	}
	r.say(finished("tsk_1", first.Fence, agentv1.Outcome_OUTCOME_SUCCEEDED))
	if a := r.hear().GetAcknowledged(); a.GetFence() != first.Fence {
		t.Fatalf("got %v", a)
	}
	if got := s.task("tsk_1").State; got != gestor.TaskLeased {
		t.Fatalf("task is %s", got)
	}
}

func TestSession_AgentSpeaksOnlyForItsOwnTasks(t *testing.T) {
	s := newSystem(t)
	mine, other := s.AddNode(t, "web-1"), s.AddNode(t, "web-2")
	task := s.lease("tsk_1", gestor.TaskRetire, "", other, &agentv1.TaskSpec{})
	r := s.raw(mine)
	r.say(finished("tsk_1", task.Fence, agentv1.Outcome_OUTCOME_SUCCEEDED))
	if a := r.hear().GetAcknowledged(); a.GetTaskId() != "tsk_1" {
		t.Fatalf("got %v", a)
	}
	if got := s.task("tsk_1").State; got != gestor.TaskLeased {
		t.Fatalf("task is %s", got)
	}
}

func TestSession_CancelReachesTheAgent(t *testing.T) {
	s := newSystem(t)
	a, _ := s.agent("web-1", nodestest.Hang)
	s.lease("tsk_1", gestor.TaskRetire, "", a.Node, &agentv1.TaskSpec{})
	s.awaitTask("tsk_1", gestor.TaskRunning)
	s.Must(t, command.CancelTask{ID: "tsk_1"})
	s.awaitTask("tsk_1", gestor.TaskCancelled)
}

func TestSession_TaskCancelledBeforeItWasPushedEndsAtOnce(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	s.lease("tsk_1", gestor.TaskRetire, "", node, &agentv1.TaskSpec{})
	s.Must(t, command.CancelTask{ID: "tsk_1"})
	s.raw(node) // an agent that says nothing of the task, because it never had it
	s.awaitTask("tsk_1", gestor.TaskCancelled)
}
