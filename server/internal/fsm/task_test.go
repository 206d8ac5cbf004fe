package fsm

import (
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestTask_IsFencedByTheIndexOfItsLease(t *testing.T) {
	w := newWorld(t)
	w.must(newBuild("bld_1", "app_1"))
	const id = gestor.TaskID("tsk_bld_1")
	fence := w.must(command.LeaseTask{ID: id, Node: "nod_1"}).Revision
	w.refuses(fault.KindConflict, command.LeaseTask{ID: id, Node: "nod_1"})
	w.must(command.LoseTask{ID: id, Fence: fence})
	if x := w.task(id); x.State != gestor.TaskQueued || x.NodeID != "" || x.Attempt != 1 {
		t.Fatalf("a lost build is not free again: %+v", x)
	}
	again := w.must(command.LeaseTask{ID: id, Node: "nod_1"}).Revision
	w.refuses(fault.KindConflict, command.StartTask{ID: id, Fence: fence})
	w.refuses(fault.KindConflict, command.ReportTask{ID: id, Fence: fence})
	w.refuses(fault.KindConflict, command.FinishTask{ID: id, Fence: fence, Outcome: gestor.TaskSucceeded})
	w.refuses(fault.KindConflict, command.LoseTask{ID: id, Fence: fence})
	w.must(command.FinishTask{ID: id, Fence: again, Outcome: gestor.TaskSucceeded, Result: builtResult(t)})
	w.must(command.FinishTask{ID: id, Fence: again, Outcome: gestor.TaskSucceeded, Result: builtResult(t)})
	if b := w.build("bld_1"); b.Status != gestor.BuildSuccess || b.Artifact.Commit != "c0ffee" || b.Number != 1 {
		t.Errorf("build %+v", b)
	}
}

func TestLoseTask_LetsAnotherNodeLookIntoARepository(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateTask{Task: gestor.Task{ID: "tsk_look", TenantID: "ten_1", Kind: gestor.TaskDetect, MaxAttempts: 2, OnLost: gestor.LostRetry}})
	fence := w.must(command.LeaseTask{ID: "tsk_look", Node: "nod_1"}).Revision
	w.must(command.LoseTask{ID: "tsk_look", Fence: fence})
	if x := w.task("tsk_look"); x.State != gestor.TaskQueued || x.NodeID != "" {
		t.Fatalf("it waits for the node that is gone: %+v", x)
	}
}

func TestFinishTask_QueuesARetryableFailureWithBackoffUntilAttemptsRunOut(t *testing.T) {
	w := newWorld(t)
	w.must(newBuild("bld_1", "app_1"))
	const id = gestor.TaskID("tsk_bld_1")
	fence := w.must(command.LeaseTask{ID: id, Node: "nod_1"}).Revision
	w.must(command.StartTask{ID: id, Fence: fence})
	fail := command.FinishTask{ID: id, Fence: fence, Outcome: gestor.TaskFailed, Error: "no network", Retryable: true}
	w.must(fail)
	if x := w.task(id); x.State != gestor.TaskQueued || !x.NotBefore.Equal(w.now.Add(gestor.Backoff(1))) {
		t.Fatalf("got %+v", x)
	}
	w.refuses(fault.KindConflict, command.LeaseTask{ID: id, Node: "nod_1"})
	w.now = w.now.Add(time.Minute)
	fail.Fence = w.must(command.LeaseTask{ID: id, Node: "nod_1"}).Revision
	w.must(fail)
	if x, b := w.task(id), w.build("bld_1"); x.State != gestor.TaskFailed || b.Status != gestor.BuildFailed || b.Error != "no network" {
		t.Errorf("task %s, build %+v", x.State, b)
	}
	w.refuses(fault.KindConflict, command.RetryTask{ID: id})
}

func TestLeaseTask_RefusesStrangersAndASecondTaskOfAResource(t *testing.T) {
	w := newWorld(t)
	w.must(command.CreateJoinToken{Token: newToken("join_2", "nod_2", "web2")})
	w.must(command.EnrollNode{TokenID: "join_2", SecretHash: secret, SPKI: hashOf("k2")})
	w.must(newBuild("bld_1", "app_1"))
	w.refuses(fault.KindConflict, command.LeaseTask{ID: "tsk_bld_1", Node: "nod_2"})
	one, two := newTask("tsk_1", gestor.TaskDetect), newTask("tsk_2", gestor.TaskDetect)
	w.must(one)
	w.must(two)
	w.refuses(fault.KindConflict, command.LeaseTask{ID: "tsk_1", Node: "nod_2"})
	w.must(command.LeaseTask{ID: "tsk_1", Node: "nod_1"})
	w.must(command.LeaseTask{ID: "tsk_2", Node: "nod_1"})
}

func TestLoseTask_HoldsWhatIsNotIdempotentUntilAPersonRetries(t *testing.T) {
	w := newWorld(t)
	w.must(newTask("tsk_1", gestor.TaskSwitch))
	fence := w.must(command.LeaseTask{ID: "tsk_1", Node: "nod_1"}).Revision
	w.must(command.LoseTask{ID: "tsk_1", Fence: fence})
	if x := w.task("tsk_1"); x.State != gestor.TaskLost {
		t.Fatalf("got %+v", x)
	}
	w.refuses(fault.KindConflict, command.FinishTask{ID: "tsk_1", Fence: fence, Outcome: gestor.TaskSucceeded})
	w.must(command.RetryTask{ID: "tsk_1"})
	if x := w.task("tsk_1"); x.State != gestor.TaskQueued || x.NodeID != "nod_1" || x.MaxAttempts != 2 || !x.FinishedAt.IsZero() {
		t.Errorf("got %+v", x)
	}
	w.refuses(fault.KindConflict, command.RetryTask{ID: "tsk_1"})
}

func TestCancelTask_EndsWhatWaitsAndAsksWhatRuns(t *testing.T) {
	w := newWorld(t)
	w.must(newTask("tsk_1", gestor.TaskDetect))
	w.must(newTask("tsk_2", gestor.TaskDetect))
	fence := w.must(command.LeaseTask{ID: "tsk_2", Node: "nod_1"}).Revision
	w.must(command.CancelTask{ID: "tsk_1"})
	w.must(command.CancelTask{ID: "tsk_2"})
	if one, two := w.task("tsk_1"), w.task("tsk_2"); one.State != gestor.TaskCancelled || !two.Cancelling || two.State != gestor.TaskLeased {
		t.Errorf("got %+v, %+v", one, two)
	}
	w.must(command.LoseTask{ID: "tsk_2", Fence: fence})
	if x := w.task("tsk_2"); x.State != gestor.TaskCancelled {
		t.Errorf("a cancelled task that was lost is %s", x.State)
	}
}

func TestDeleteNode_LosesItsTasks(t *testing.T) {
	w := newWorld(t)
	w.must(newBuild("bld_1", "app_1"))
	w.must(command.LeaseTask{ID: "tsk_bld_1", Node: "nod_1"})
	w.must(newTask("tsk_1", gestor.TaskDetect))
	w.must(command.UpdateApp{ID: "app_1"})
	w.must(command.DeleteNode{ID: "nod_1"})
	if a, b := w.task("tsk_bld_1").State, w.task("tsk_1").State; a != gestor.TaskLost || b != gestor.TaskLost {
		t.Errorf("got %s, %s", a, b)
	}
	if b := w.build("bld_1"); b.Status != gestor.BuildFailed {
		t.Errorf("the build is %s", b.Status)
	}
}

func TestDeleteNode_IsRefusedWhileAppsAreToRunThere(t *testing.T) {
	w := newWorld(t)
	blog := newApp("app_2", "blog", "nod_1")
	w.must(command.CreateApp{App: blog})
	if err := w.refusal(fault.KindConflict, command.DeleteNode{ID: "nod_1"}); !strings.Contains(err.Error(), "web1 is to run blog, shop") {
		t.Errorf("got %v", err)
	}
	w.must(command.UpdateApp{ID: "app_1"})
	w.must(command.DeleteApp{ID: "app_2"}) // its removal may wait for this very node
	w.must(command.DeleteNode{ID: "nod_1"})
}

func TestExplainTasks_SaysWhyATaskWaitsUntilItDoesNot(t *testing.T) {
	w := newWorld(t)
	w.must(newTask("tsk_1", gestor.TaskDetect))
	w.must(command.ExplainTasks{Waiting: map[gestor.TaskID]string{"tsk_1": "web1 is not connected", "tsk_9": "gone"}})
	if got := w.task("tsk_1").Waiting; got != "web1 is not connected" {
		t.Errorf("got %q", got)
	}
	w.must(command.LeaseTask{ID: "tsk_1", Node: "nod_1"})
	if got := w.task("tsk_1").Waiting; got != "" {
		t.Errorf("a leased task still waits: %q", got)
	}
}

func TestPrune_LeavesWhatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	w.must(newTask("tsk_old", gestor.TaskDetect))
	w.finish("tsk_old", gestor.TaskSucceeded, nil)
	w.deploy("1", gestor.DeploymentPreparing)
	w.must(newTask("tsk_new", gestor.TaskDetect))
	w.must(command.Prune{Before: w.now.Add(time.Hour)})
	if _, err := w.view().Task(t.Context(), "tsk_old"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("an old task was kept: %v", err)
	}
	w.task("tsk_new")
	w.task("tsk_bld_1")
}
