package tenants

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// turned is a clock that the test turns.
type turned struct {
	mu    sync.Mutex
	now   time.Time
	doubt string
}

func (c *turned) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *turned) Doubt() string { return c.doubt }

func (c *turned) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is an installation whose operator is of nodestest.Tenant, with the customer ten_x in the trash. The customer has the
// node nod_own and the app app_shop on it.
type world struct {
	*nodestest.Engine
	t       *testing.T
	clock   *turned
	service *Service
}

const customer gestor.TenantID = "ten_x"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Engine: nodestest.NewEngine(t), t: t, clock: &turned{now: time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)}}
	remover := deploy.New(deploy.Options{Engine: w.Engine, Now: w.clock.Now})
	nodestest.Run(t, remover.RunTerm)
	w.service = New(Options{Engine: w.Engine, Remover: remover, Clock: w.clock})
	w.system(command.CreateTenant{Tenant: gestor.Tenant{ID: customer, Name: "Xylo", Plan: gestor.PlanFree}})
	w.node("nod_own", customer)
	w.app("shop", "nod_own")
	w.system(command.SetTenantStatus{ID: customer, Status: gestor.StatusTrash})
	return w
}

func (w *world) system(op command.Op) { w.as(gestor.SystemActor("test"), op) }

func (w *world) as(by gestor.Actor, op command.Op) {
	w.t.Helper()
	if _, err := w.Propose(context.Background(), command.Command{At: w.clock.Now(), Actor: by, Op: op}); err != nil {
		w.t.Fatalf("%T: %v", op, err)
	}
}

func (w *world) node(id gestor.NodeID, owner gestor.TenantID) {
	w.t.Helper()
	secret := []byte("secret of " + id)
	w.system(command.CreateJoinToken{Token: gestor.JoinToken{
		ID: "tok_" + string(id), TenantID: owner, SecretHash: secret, NodeName: string(id[4:]), NodeID: id, ExpiresAt: w.clock.Now().Add(time.Hour),
	}})
	w.system(command.EnrollNode{TokenID: "tok_" + string(id), SecretHash: secret, SPKI: []byte(id)})
	w.system(command.SetNodeStatus{ID: id, Status: gestor.NodeConnected})
}

func (w *world) app(slug string, nodes ...gestor.NodeID) {
	w.t.Helper()
	w.as(gestor.Actor{Kind: "user", ID: "usr_x", TenantID: customer}, command.CreateApp{App: gestor.App{
		ID: gestor.AppID("app_" + slug), Slug: slug, Settings: gestor.AppSettings{
			Repository: "https://git.example.com/" + slug, Domains: []string{slug + ".example.com"}, Nodes: nodes,
		},
	}})
}

func (w *world) step() time.Duration {
	w.t.Helper()
	wait, err := w.service.step(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return wait
}

func (w *world) view() *state.View { return w.View(gestor.SystemScope()) }

// removal is the task that takes app_shop off its node.
func (w *world) removal() gestor.Task {
	w.t.Helper()
	tasks, _, err := w.view().Tasks(w.t.Context(), state.TaskFilter{App: "app_shop"}, gestor.Page{})
	if err != nil || len(tasks) != 1 || tasks[0].Kind != gestor.TaskRemove {
		w.t.Fatalf("got %v, %v", tasks, err)
	}
	return tasks[0]
}

// work has the node end the removal.
func (w *world) work(outcome gestor.TaskState) {
	w.t.Helper()
	t := w.removal()
	w.system(command.LeaseTask{ID: t.ID, Node: t.NodeID})
	w.system(command.FinishTask{ID: t.ID, Fence: w.removal().Fence, Outcome: outcome, Error: string(outcome)})
}

func (w *world) gone(v *state.View) bool {
	_, err := v.Tenant(context.Background(), customer)
	return fault.KindOf(err) == fault.KindNotFound
}

func (w *world) withoutApps(v *state.View) bool {
	apps, err := v.AppsOf(context.Background(), customer)
	return err == nil && len(apps) == 0
}

func TestEnd_TakesAppsOffTheirNodesAndThenRemovesTheTenant(t *testing.T) {
	w := newWorld(t)
	w.clock.turn(gestor.TrashTime - time.Minute)
	if wait := w.step(); wait != time.Minute {
		t.Errorf("looks again in %s, a minute before the time is over", wait)
	}
	if tasks, _, err := w.view().Tasks(t.Context(), state.TaskFilter{}, gestor.Page{}); err != nil || len(tasks) > 0 {
		t.Fatalf("something was begun before the time was over: %v, %v", tasks, err)
	}
	w.clock.turn(time.Minute)
	w.step()
	w.step() // and nothing is begun twice
	w.work(gestor.TaskSucceeded)
	w.Await(t, "the app to be forgotten", w.withoutApps)
	w.step()
	if !w.gone(w.view()) {
		t.Error("the tenant is still there")
	}
	if nodes, err := w.view().AllNodes(t.Context()); err != nil || len(nodes) > 0 {
		t.Errorf("its nodes are still there: %v, %v", nodes, err)
	}
	entries, _, err := w.View(gestor.TenantScope(customer)).AuditEntries(t.Context(), gestor.Page{})
	actions := map[string]bool{}
	for _, e := range entries {
		actions[e.Action] = true
	}
	if err != nil || !actions["app.delete"] || !actions["tenant.purge"] {
		t.Errorf("the audit log tells of %v (%v)", actions, err)
	}
	if wait := w.step(); wait != rest {
		t.Errorf("with nobody in the trash it looks again in %s", wait)
	}
}

func TestEnd_LeavesARestoredTenantAlone(t *testing.T) {
	w := newWorld(t)
	w.clock.turn(gestor.TrashTime - time.Minute)
	w.system(command.RestoreTenant{ID: customer})
	w.clock.turn(time.Hour)
	w.step()
	if app, err := w.view().App(t.Context(), "app_shop"); err != nil || app.Status == gestor.AppDeleting {
		t.Errorf("got %+v, %v", app, err)
	}
}

func TestEnd_WaitsWhileTheTimeIsInDoubt(t *testing.T) {
	w := newWorld(t)
	w.clock.doubt = "the clock has jumped"
	w.clock.turn(2 * gestor.TrashTime)
	w.step()
	if app, err := w.view().App(t.Context(), "app_shop"); err != nil || app.Status == gestor.AppDeleting {
		t.Errorf("got %+v, %v", app, err)
	}
}

func TestEnd_RepeatsARemovalThatFailed(t *testing.T) {
	w := newWorld(t)
	w.clock.turn(gestor.TrashTime)
	w.step()
	w.work(gestor.TaskFailed)
	w.step()
	if state := w.removal().State; state != gestor.TaskFailed {
		t.Errorf("the removal is %s at once", state)
	}
	w.clock.turn(time.Hour)
	w.step()
	w.work(gestor.TaskSucceeded)
	w.Await(t, "the app to be forgotten", w.withoutApps)
}

func TestEnd_GivesALostNodeOfTheTenantUpAfterADay(t *testing.T) {
	w := newWorld(t)
	w.system(command.SetNodeStatus{ID: "nod_own", Status: gestor.NodeLost})
	w.clock.turn(gestor.TrashTime)
	w.step()
	w.clock.turn(24*time.Hour - time.Second)
	w.step()
	if _, err := w.view().Node(t.Context(), "nod_own"); err != nil {
		t.Fatalf("the node was given up early: %v", err)
	}
	w.clock.turn(time.Second)
	w.step()
	w.Await(t, "the app to be forgotten", w.withoutApps)
	w.step()
	if !w.gone(w.view()) {
		t.Error("the tenant is still there")
	}
}

func TestEnd_EndsADeploymentThatHoldsAnAppOnALostNode(t *testing.T) {
	w := newWorld(t)
	w.system(command.RestoreTenant{ID: customer})
	b := command.CreateBuild{ID: "bld_1", AppID: "app_shop", Ref: "main", Task: gestor.Task{
		ID: "tsk_b", Kind: gestor.TaskBuild, Candidates: []gestor.NodeID{"nod_own"}, MaxAttempts: 1, Timeout: time.Minute, OnLost: gestor.LostRetry,
	}}
	w.as(gestor.Actor{Kind: "user", ID: "usr_x", TenantID: customer}, command.CreateDeployment{ID: "dep_1", AppID: "app_shop", Build: &b, NewReleaseID: "rel_1"})
	w.system(command.LeaseTask{ID: "tsk_b", Node: "nod_own"})
	w.system(command.SetNodeStatus{ID: "nod_own", Status: gestor.NodeLost})
	w.system(command.SetTenantStatus{ID: customer, Status: gestor.StatusTrash})
	w.clock.turn(gestor.TrashTime + 24*time.Hour)
	w.step()
	w.Await(t, "the deployment to end", func(v *state.View) bool {
		app, err := v.App(context.Background(), "app_shop")
		return err == nil && app.ActiveDeployment == ""
	})
	w.step()
	w.Await(t, "the app to be forgotten", w.withoutApps)
	w.step()
	if !w.gone(w.view()) {
		t.Error("the tenant is still there")
	}
}

func TestEnd_WaitsForANodeThatOthersShareAndLeavesItBehind(t *testing.T) {
	w := newWorld(t)
	w.system(command.RestoreTenant{ID: customer})
	w.system(command.ShareNode{ID: "nod_own", Shared: true})
	w.system(command.SetNodeStatus{ID: "nod_own", Status: gestor.NodeLost})
	w.system(command.SetTenantStatus{ID: customer, Status: gestor.StatusTrash})
	w.clock.turn(gestor.TrashTime + 30*24*time.Hour)
	w.step()
	w.step()
	if state := w.removal().State; state != gestor.TaskQueued {
		t.Errorf("the removal is %s", state)
	}
	w.work(gestor.TaskSucceeded)
	w.Await(t, "the app to be forgotten", w.withoutApps)
	w.step()
	n, err := w.view().Node(t.Context(), "nod_own")
	if err != nil || n.TenantID != nodestest.Tenant || !n.Shared {
		t.Errorf("the shared node is %+v, %v", n, err)
	}
}

func TestRunTerm_SleepsUntilTheTimeIsOverAndWakesForChanges(t *testing.T) {
	w := newWorld(t)
	asked, fire := make(chan time.Duration, 100), make(chan time.Time)
	w.service.o.After = func(d time.Duration) <-chan time.Time {
		asked <- d
		return fire
	}
	w.system(command.RestoreTenant{ID: customer})
	nodestest.Run(t, w.service.RunTerm)
	if d := <-asked; d != rest {
		t.Errorf("it sleeps for %s with nobody in the trash", d)
	}
	w.system(command.SetTenantStatus{ID: customer, Status: gestor.StatusTrash}) // wakes it
	if d := <-asked; d != rest {
		t.Errorf("it sleeps for %s, the time is over in a week", d)
	}
	w.clock.turn(gestor.TrashTime)
	fire <- w.clock.Now()
	w.Await(t, "the removal to begin", func(v *state.View) bool {
		app, err := v.App(context.Background(), "app_shop")
		return err == nil && app.Status == gestor.AppDeleting
	})
	w.work(gestor.TaskSucceeded)
	tenants := w.Watch(state.Tenants)
	defer tenants.Close()
	for !w.gone(w.view()) {
		select {
		case <-tenants.C:
		case <-time.After(20 * time.Second):
			t.Fatal("the tenant is still there")
		}
	}
}
