package fsm

import (
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// A state of the first level with all there can be goes on at the second, with what was under way, and on a server that
// replays the log as on one that got a snapshot from before or after.
func TestRaiseLevel_InTheMiddleOfALifeGoesOnWithAllOfIt(t *testing.T) {
	w := grownAtLevelOne(t)
	before := emptyWorld(t)
	copyState(t, w, before)
	before.index, before.now = w.index, w.now
	raise := func(w *world) { w.as(system).must(command.RaiseLevel{Level: 2}) }
	raise(w)
	after := emptyWorld(t)
	copyState(t, w, after)
	after.index, after.now = w.index, w.now
	raise(before)
	for _, w := range []*world{w, before, after} {
		goOn(w)
	}
	if w.hash() != before.hash() || w.hash() != after.hash() {
		t.Error("the three are not the same")
	}
}

// grownAtLevelOne is an installation with a release that is live, variables, a session, an audit log, and a deployment whose
// build runs.
func grownAtLevelOne(t *testing.T) *world {
	t.Helper()
	w := emptyWorld(t)
	w.must(command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1", SetupHash: secret}, Level: 1})
	for _, op := range founding()[1:] {
		w.must(op)
	}
	w.actor = alice
	w.actor.Action = "test"
	w.must(command.CreateApp{App: newApp("app_1", "shop", "nod_1")})
	w.must(command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"A": sealedWith(1, "a"), "B": sealedWith(1, "b")}})
	w.must(command.CreateSession{Session: gestor.Session{ID: "ses_1", UserID: "usr_a", TokenHash: hashOf("s1"), ExpiresAt: start.Add(240 * time.Hour)}})
	w.deploy("one", live...)
	b := newBuild("bld_two", "app_1")
	w.must(command.CreateDeployment{ID: "dep_two", AppID: "app_1", Build: &b, NewReleaseID: "rel_two"})
	fence := w.must(command.LeaseTask{ID: b.Task.ID, Node: "nod_1"}).Revision
	w.must(command.StartTask{ID: b.Task.ID, Fence: fence})
	return w
}

func goOn(w *world) {
	w.t.Helper()
	w.actor = alice
	w.actor.Action, w.actor.SessionID = "test", "ses_1"
	u, err := w.view().User(w.t.Context(), "usr_a")
	if err != nil || !u.Operator || u.PasswordSetAt.IsZero() {
		w.t.Fatalf("who managed everything is %+v, %v", u, err)
	}
	w.must(command.Reauthenticate{ID: "ses_1", Stamp: u.Stamp()})
	w.must(command.UpdateEnv{AppID: "app_1", Set: map[string][]byte{"A": sealedWith(1, "new")}, Unset: []string{"B"}})
	w.must(command.UpdateProtection{Protection: gestor.Protection{Environment: "production", RequireApproval: true, Approvals: 1}})
	task := w.task("tsk_bld_two")
	w.must(command.FinishTask{ID: task.ID, Fence: task.Fence, Outcome: gestor.TaskSucceeded, Result: builtResult(w.t)})
	w.must(command.AdvanceDeployment{ID: "dep_two", From: gestor.DeploymentBuilding, To: gestor.DeploymentPreparing})
	if r := w.do(command.AdvanceDeployment{ID: "dep_two", From: gestor.DeploymentPreparing, To: gestor.DeploymentSwitching}); r.Err == nil {
		w.t.Error("what was under way switches into a protected environment without an approval")
	}
	w.must(command.UpdateProtection{Protection: gestor.Protection{Environment: "production"}})
	for _, step := range [][2]gestor.DeploymentState{{"preparing", "switching"}, {"switching", "watching"}, {"watching", "succeeded"}} {
		w.must(command.AdvanceDeployment{ID: "dep_two", From: step[0], To: step[1]})
	}
	if d := w.deployment("dep_two"); w.app("app_1").CurrentRelease != "rel_two" || d.EnvVersion != 0 {
		w.t.Errorf("the deployment of before is %+v", d)
	}
	w.must(command.RollbackEnv{AppID: "app_1", Version: 1})
	vars, err := w.view().Env(w.t.Context(), "app_1")
	if err != nil || len(vars) != 2 || string(vars[0].Sealed) != string(sealedWith(1, "a")) {
		w.t.Errorf("version 1 has %+v, %v", vars, err)
	}
	w.must(command.DeleteSession{ID: "ses_1"})
	var chain auditlog.Chain
	for _, e := range w.entries() {
		line := e.Line()
		if found := chain.Add(&line); len(found) > 0 {
			w.t.Errorf("the audit log: %v", found)
		}
	}
	if chain.Without == 0 || chain.Checked == 0 {
		w.t.Errorf("%d entries are older than hashes, %d have one", chain.Without, chain.Checked)
	}
}
