package fsm

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func stateFilter(app gestor.AppID) state.TaskFilter { return state.TaskFilter{App: app} }

func TestDeployment_MakesAReleaseAndMakesItLive(t *testing.T) {
	w := newWorld(t)
	id := w.deploy("1", live...)
	d, a, r := w.deployment(id), w.app("app_1"), w.release("rel_1")
	if a.Status != gestor.AppActive || a.CurrentRelease != "rel_1" || a.ActiveDeployment != "" {
		t.Errorf("app %+v", a)
	}
	if r.Status != gestor.ReleaseGood || r.Artifact.Digest != "d1" || r.LiveAt.IsZero() || r.Name == "" {
		t.Errorf("release %+v", r)
	}
	var names []string
	for _, p := range d.Phases {
		names = append(names, p.Name)
		if p.FinishedAt.IsZero() || p.FinishedAt.Before(p.StartedAt) {
			t.Errorf("phase %+v", p)
		}
	}
	if strings.Join(names, " ") != "build prepare switch watch" || d.FinishedAt.IsZero() || d.LiveAt.IsZero() {
		t.Errorf("deployment %+v", d)
	}
}

func TestCreateDeployment_IsRefusedWhileAnotherHoldsTheLock(t *testing.T) {
	w := newWorld(t)
	w.deploy("1", gestor.DeploymentPreparing)
	b := newBuild("bld_2", "app_1")
	err := w.refusal(fault.KindConflict, command.CreateDeployment{ID: "dep_2", AppID: "app_1", Build: &b, NewReleaseID: "rel_2"})
	for _, part := range []string{"shop", "alice", "dep_1", "preparing", "2026-11-23"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	w.refuses(fault.KindConflict, command.DeleteApp{ID: "app_1"})
}

func TestCreateDeployment_NeedsNodes(t *testing.T) {
	w := newWorld(t)
	w.must(command.UpdateApp{ID: "app_1"})
	b := newBuild("bld_1", "app_1")
	w.refuses(fault.KindConflict, command.CreateDeployment{ID: "dep_1", AppID: "app_1", Build: &b, NewReleaseID: "rel_1"})
}

func TestCreateDeployment_RefusesBadAndPrunedAndForeignReleases(t *testing.T) {
	w := newWorld(t)
	w.deploy("1", live...)
	w.deploy("2", gestor.DeploymentPreparing, gestor.DeploymentSwitching, gestor.DeploymentReverting, gestor.DeploymentFailed)
	back := command.CreateDeployment{ID: "dep_3", AppID: "app_1", ReleaseID: "rel_2", Rollback: true}
	w.refuses(fault.KindConflict, back)
	w.refuses(fault.KindConflict, command.CreateDeployment{ID: "dep_3", AppID: "app_1", BuildID: "bld_2", NewReleaseID: "rel_3"})
	w.refuses(fault.KindNotFound, command.CreateDeployment{ID: "dep_3", AppID: "app_1", ReleaseID: "rel_9"})
	w.refuses(fault.KindNotFound, command.CreateDeployment{ID: "dep_3", AppID: "app_1", BuildID: "bld_9", NewReleaseID: "r"})
	w.refuses(fault.KindInvalid, command.CreateDeployment{ID: "dep_3", AppID: "app_1", NewReleaseID: "r"})
	back.AllowBad = true
	w.must(back)
	if d := w.deployment("dep_3"); d.ReleaseID != "rel_2" || d.PreviousRelease != "rel_1" || len(d.Phases) != 0 {
		t.Errorf("got %+v", d)
	}
}

func TestAdvanceDeployment_RevertGoesBackAndCondemnsTheRelease(t *testing.T) {
	w := newWorld(t)
	w.deploy("1", live...)
	w.deploy("2", gestor.DeploymentPreparing, gestor.DeploymentSwitching, gestor.DeploymentWatching)
	if w.app("app_1").CurrentRelease != "rel_2" {
		t.Fatal("the new release is not live while it is watched")
	}
	w.must(command.AdvanceDeployment{ID: "dep_2", From: "watching", To: "reverting", Error: "502"})
	w.must(command.AdvanceDeployment{ID: "dep_2", From: "reverting", To: "failed"})
	a, r := w.app("app_1"), w.release("rel_2")
	if a.CurrentRelease != "rel_1" || a.Status != gestor.AppError || a.ActiveDeployment != "" {
		t.Errorf("app %+v", a)
	}
	if r.Status != gestor.ReleaseBad || r.Reason != "502" {
		t.Errorf("release %+v", r)
	}
	good, err := w.view().LastGoodRelease(t.Context(), gestor.App{ID: "app_1", CurrentRelease: "rel_2"})
	if err != nil || good.ID != "rel_1" {
		t.Errorf("got %+v, %v", good, err)
	}
}

func TestAdvanceDeployment_CancelDoesNotCondemn(t *testing.T) {
	for _, first := range []bool{true, false} {
		w := newWorld(t)
		want := gestor.AppInactive
		if !first {
			w.deploy("1", live...)
			want = gestor.AppActive
		}
		w.deploy("2", gestor.DeploymentPreparing, gestor.DeploymentSwitching)
		w.must(command.CancelDeployment{ID: "dep_2"})
		w.must(command.AdvanceDeployment{ID: "dep_2", From: "switching", To: "reverting"})
		w.must(command.AdvanceDeployment{ID: "dep_2", From: "reverting", To: "cancelled"})
		if r, a := w.release("rel_2"), w.app("app_1"); r.Status != gestor.ReleaseNew || a.Status != want {
			t.Errorf("release %s, app %s", r.Status, a.Status)
		}
		w.refuses(fault.KindConflict, command.CancelDeployment{ID: "dep_2"})
	}
}

func TestAdvanceDeployment_PreparingCondemnsOnlyForItsOwnFault(t *testing.T) {
	for outcome, want := range map[gestor.TaskState]gestor.ReleaseStatus{
		gestor.TaskFailed: gestor.ReleaseBad, gestor.TaskLost: gestor.ReleaseNew,
	} {
		w := newWorld(t)
		w.deploy("1", gestor.DeploymentPreparing)
		prepare := []command.CreateTask{newTask("tsk_p", gestor.TaskPrepare)}
		w.must(command.AdvanceDeployment{ID: "dep_1", From: "preparing", To: "preparing", Tasks: prepare})
		fence := w.must(command.LeaseTask{ID: "tsk_p", Node: "nod_1"}).Revision
		if outcome == gestor.TaskLost {
			w.must(command.LoseTask{ID: "tsk_p", Fence: fence})
		} else {
			w.must(command.FinishTask{ID: "tsk_p", Fence: fence, Outcome: outcome})
		}
		w.must(command.AdvanceDeployment{ID: "dep_1", From: "preparing", To: "failed", Error: "e"})
		if got := w.release("rel_1").Status; got != want {
			t.Errorf("after a %s task the release is %s, want %s", outcome, got, want)
		}
	}
}

func TestAdvanceDeployment_RefusesWrongStatesAndUnfinishedBuilds(t *testing.T) {
	w := newWorld(t)
	b := newBuild("bld_1", "app_1")
	w.must(command.CreateDeployment{ID: "dep_1", AppID: "app_1", Build: &b, NewReleaseID: "rel_1"})
	w.refuses(fault.KindConflict, command.AdvanceDeployment{ID: "dep_1", From: "building", To: "preparing"})
	w.refuses(fault.KindConflict, command.AdvanceDeployment{ID: "dep_1", From: "preparing", To: "switching"})
	w.refuses(fault.KindConflict, command.AdvanceDeployment{ID: "dep_1", From: "building", To: "succeeded"})
	stop := command.AdvanceDeployment{ID: "dep_1", From: "building", To: "cancelled", CancelTasks: []gestor.TaskID{b.Task.ID}}
	w.must(stop)
	if got := w.build("bld_1").Status; got != gestor.BuildCancelled {
		t.Errorf("the build is %s", got)
	}
	w.refuses(fault.KindConflict, command.AdvanceDeployment{ID: "dep_1", From: "cancelled", To: "cancelled"})
}

func TestReleaseNames_AreUniqueWithinASecond(t *testing.T) {
	w := newWorld(t)
	w.deploy("1", live...)
	at := w.release("rel_1").CreatedAt
	b := newBuild("bld_2", "app_1")
	w.must(command.CreateDeployment{ID: "dep_2", AppID: "app_1", Build: &b, NewReleaseID: "rel_2"})
	w.finish(b.Task.ID, gestor.TaskSucceeded, builtResult(t))
	w.now = at
	w.must(command.AdvanceDeployment{ID: "dep_2", From: "building", To: "preparing"})
	if one, two := w.release("rel_1").Name, w.release("rel_2").Name; two != one+"-2" {
		t.Errorf("got %s and %s", one, two)
	}
}

func TestRetire_MarksWhatItRemovedAsPruned(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"1", "2", "3"} {
		w.deploy(name, live...)
	}
	w.deploy("4", gestor.DeploymentPreparing, gestor.DeploymentSwitching, gestor.DeploymentReverting, gestor.DeploymentFailed)
	w.must(retire(t, "tsk_a", w.release("rel_2").Name))
	w.now = w.now.Add(time.Second)
	w.deploy("5", gestor.DeploymentPreparing) // under way, and unknown to the task
	w.finish("tsk_a", gestor.TaskSucceeded, nil)
	for id, want := range map[gestor.ReleaseID]gestor.ReleaseStatus{
		"rel_1": gestor.ReleasePruned, "rel_2": gestor.ReleaseGood, "rel_3": gestor.ReleaseGood,
		"rel_4": gestor.ReleaseBad, "rel_5": gestor.ReleaseNew,
	} {
		if got := w.release(id).Status; got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
	w.must(command.AdvanceDeployment{ID: "dep_5", From: "preparing", To: "cancelled"})
	w.refuses(fault.KindConflict, command.CreateDeployment{ID: "dep_6", AppID: "app_1", ReleaseID: "rel_1", Rollback: true, AllowBad: true})
	w.refuses(fault.KindConflict, command.PinRelease{ID: "rel_1", Pinned: true})
}

func TestRetire_MarksNothingUnlessItSucceeds(t *testing.T) {
	w := newWorld(t)
	w.deploy("1", live...)
	w.deploy("2", live...)
	w.must(retire(t, "tsk_a"))
	w.finish("tsk_a", gestor.TaskFailed, nil)
	if got := w.release("rel_1").Status; got != gestor.ReleaseGood {
		t.Errorf("the release is %s", got)
	}
}

func retire(t *testing.T, id gestor.TaskID, keep ...string) command.CreateTask {
	t.Helper()
	spec, err := proto.Marshal(&agentv1.TaskSpec{Work: &agentv1.TaskSpec_Retire{Retire: &agentv1.RetireWork{Keep: keep}}})
	if err != nil {
		t.Fatal(err)
	}
	op := newTask(id, gestor.TaskRetire)
	op.Task.Spec = spec
	return op
}
