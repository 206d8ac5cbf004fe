package deploy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/dispatch"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// system is a whole work engine: state machine, dispatch, deploy, nodes with real streams, and fake agents.
type system struct {
	*nodestest.Engine
	t      *testing.T
	deploy *deploy.Service
	disp   *dispatch.Dispatcher
	nodes  *nodes.Service
	url    string
}

type noSecrets struct{}

func (noSecrets) ForTask(context.Context, gestor.Task) (*agentv1.Secrets, error) {
	return &agentv1.Secrets{}, nil
}

func newSystem(t *testing.T) *system {
	t.Helper()
	e := nodestest.NewEngine(t)
	hist, err := history.Open(history.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.Open(blob.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := &system{Engine: e, t: t}
	s.disp = dispatch.New(dispatch.Options{Engine: e, Times: dispatch.Times{Lease: time.Second, Margin: 200 * time.Millisecond, Explain: 10 * time.Millisecond}})
	s.deploy = deploy.New(deploy.Options{Engine: e})
	s.nodes = nodes.New(nodes.Options{
		Engine: e, History: hist, Blobs: blobs, Secrets: noSecrets{}, Leases: s.disp, Caller: nodestest.Caller,
		Times: nodes.Times{Heartbeat: 200 * time.Millisecond, Suspect: 600 * time.Millisecond, Lost: time.Second},
	})
	s.url = nodestest.NewServer(t, s.nodes)
	s.run(s.nodes.Run)
	s.run(s.disp.RunTerm)
	t.Cleanup(func() { _ = hist.Close(); _ = blobs.Close() })
	return s
}

// run runs a loop until the test ends or stop is called.
func (s *system) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f(ctx) }()
	stop = func() { cancel(); <-done }
	s.t.Cleanup(stop)
	return stop
}

// script is Work by kind of task and node; what it does not name succeeds.
type script struct {
	mu sync.Mutex
	do map[string]func(context.Context, nodestest.Job) *agentv1.TaskFinished
}

func (sc *script) set(key string, f func(context.Context, nodestest.Job) *agentv1.TaskFinished) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.do == nil {
		sc.do = map[string]func(context.Context, nodestest.Job) *agentv1.TaskFinished{}
	}
	sc.do[key] = f
}

func (sc *script) work(ctx context.Context, j nodestest.Job) *agentv1.TaskFinished {
	kind := j.Spec.GetKind()
	if j.Spec.GetSwitch().GetRevert() {
		kind = "revert"
	}
	sc.mu.Lock()
	f := sc.do[kind]
	sc.mu.Unlock()
	if f == nil {
		f = nodestest.Succeed
	}
	return f(ctx, j)
}

func (s *system) agent(name string, sc *script) (*nodestest.FakeAgent, func()) {
	id := s.AddNode(s.t, name)
	a := &nodestest.FakeAgent{Node: id, Client: nodestest.NewClient(s.t, s.url, id), Work: sc.work}
	return a, a.Start(s.t)
}

func (s *system) create(app gestor.AppID) gestor.Deployment {
	s.t.Helper()
	d, err := s.deploy.CreateDeployment(s.t.Context(), deploy.Call{Actor: nodestest.Person()}, deploy.Request{App: app})
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *system) await(id gestor.DeploymentID, want gestor.DeploymentState) gestor.Deployment {
	s.t.Helper()
	var d gestor.Deployment
	s.Await(s.t, string(want), func(v *state.View) bool {
		var err error
		if d, err = v.Deployment(context.Background(), id); err != nil {
			s.t.Fatal(err)
		}
		if d.State != want && d.State.Ended() {
			s.t.Fatalf("deployment ended as %s (%s), want %s", d.State, d.Error, want)
		}
		return d.State == want
	})
	return d
}

func (s *system) app(id gestor.AppID) gestor.App {
	s.t.Helper()
	a, err := s.View(gestor.SystemScope()).App(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// settled waits until no task of the app is left.
func (s *system) settled(app gestor.AppID) {
	s.t.Helper()
	s.Await(s.t, "all tasks to end", func(v *state.View) bool {
		tasks, _, err := v.Tasks(context.Background(), state.TaskFilter{App: app, Active: true}, gestor.Page{})
		return err == nil && len(tasks) == 0
	})
}

func failWith(why string) func(context.Context, nodestest.Job) *agentv1.TaskFinished {
	return func(context.Context, nodestest.Job) *agentv1.TaskFinished { return nodestest.Failed(why) }
}

func hang(ctx context.Context, _ nodestest.Job) *agentv1.TaskFinished { return nodestest.Hang(ctx) }

func TestDeployment_GoesLiveOnAllNodes(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a1, _ := s.agent("web-1", &script{})
	a2, _ := s.agent("web-2", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	d := s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	if got := s.app(app); got.CurrentRelease != d.ReleaseID || got.Status != gestor.AppActive || got.ActiveDeployment != "" {
		t.Fatalf("app = %+v", got)
	}
	begun := append(a1.Begun(), a2.Begun()...)
	slices.Sort(begun)
	if got := strings.Join(begun, " "); got != "build prepare prepare retire retire switch switch watch watch" {
		t.Fatalf("begun: %s", got)
	}
	if len(d.Phases) != 4 || d.Phases[3].FinishedAt.IsZero() || d.LiveAt.IsZero() {
		t.Fatalf("phases = %+v, live at %v", d.Phases, d.LiveAt)
	}
}

func TestDeployment_NoNodeSwitchesBeforeAllArePrepared(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	slow := &script{}
	slow.set("prepare", hang)
	a1, _ := s.agent("web-1", &script{})
	a2, _ := s.agent("web-2", slow)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	d := s.create(app)
	s.Await(t, "web-1 prepared", func(v *state.View) bool {
		return s.count(v, d.ID, gestor.TaskPrepare, gestor.TaskSucceeded) == 1 && s.count(v, d.ID, gestor.TaskPrepare, gestor.TaskRunning) == 1
	})
	if slices.Contains(a1.Begun(), "switch") {
		t.Fatal("web-1 was switched before web-2 was prepared")
	}
	s.cancel(d.ID)
	s.await(d.ID, gestor.DeploymentCancelled)
	if got := s.app(app); got.Status != gestor.AppInactive || got.ActiveDeployment != "" {
		t.Fatalf("app = %+v", got)
	}
}

func (s *system) count(v *state.View, d gestor.DeploymentID, kind string, st gestor.TaskState) (n int) {
	tasks, err := v.TasksByDeployment(context.Background(), d)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, task := range tasks {
		if task.Kind == kind && task.State == st {
			n++
		}
	}
	return n
}

func (s *system) cancel(id gestor.DeploymentID) {
	s.t.Helper()
	if _, err := s.deploy.CancelDeployment(s.t.Context(), deploy.Call{Actor: nodestest.Person()}, id); err != nil {
		s.t.Fatal(err)
	}
}

func TestDeployment_FailsAndTidiesUpWhenANodeCannotPrepare(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	bad := &script{}
	bad.set("prepare", failWith("GET /health answered 500 for 60 s"))
	a1, _ := s.agent("web-1", bad)
	a2, _ := s.agent("web-2", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	d := s.await(s.create(app).ID, gestor.DeploymentFailed)
	if d.Error != "web-1: GET /health answered 500 for 60 s" {
		t.Fatalf("error = %q", d.Error)
	}
	s.settled(app)
	for _, a := range []*nodestest.FakeAgent{a1, a2} {
		if b := a.Begun(); slices.Contains(b, "switch") || !slices.Contains(b, "retire") {
			t.Fatalf("%s began %v", a.Node, b)
		}
	}
}

func TestDeployment_RevertsEverywhereWhenTheWatchFails(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	sc := &script{}
	a1, _ := s.agent("web-1", sc)
	a2, _ := s.agent("web-2", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a1.Node, a2.Node)
	first := s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	sc.set("watch", failWith("it crashed"))
	var back *agentv1.ReleaseSpec
	sc.set("revert", func(_ context.Context, j nodestest.Job) *agentv1.TaskFinished {
		back = j.Spec.GetSwitch().GetRelease()
		return nodestest.Done(nil)
	})
	d := s.await(s.create(app).ID, gestor.DeploymentFailed)
	if d.Error != "web-1: it crashed" {
		t.Fatalf("error = %q", d.Error)
	}
	s.settled(app)
	if back.GetId() != string(first.ReleaseID) || back.GetName() == "" {
		t.Fatalf("web-1 went back to %v", back)
	}
	if !slices.Contains(a2.Begun(), "revert") {
		t.Fatalf("web-2 began %v", a2.Begun())
	}
	if got := s.app(app); got.CurrentRelease != first.ReleaseID {
		t.Fatalf("current release = %s", got.CurrentRelease)
	}
	r, err := s.View(gestor.SystemScope()).Release(t.Context(), d.ReleaseID)
	if err != nil || r.Status != gestor.ReleaseBad {
		t.Fatalf("release = %+v, %v", r, err)
	}
}

func TestDeployment_FirstOneIsTakenOffTheWebServerWhenItFails(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	sc := &script{}
	names := make(chan string, 1)
	sc.set("switch", failWith("post_switch ended with 1"))
	sc.set("revert", func(_ context.Context, j nodestest.Job) *agentv1.TaskFinished {
		names <- j.Spec.GetSwitch().GetRelease().GetName()
		return nodestest.Done(nil)
	})
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	s.await(s.create(app).ID, gestor.DeploymentFailed)
	if name := <-names; name != "" {
		t.Fatalf("went back to %q", name)
	}
	if got := s.app(app); got.CurrentRelease != "" || got.Status != gestor.AppError {
		t.Fatalf("app = %+v", got)
	}
}

func TestDeployment_CanBeCancelledInEveryState(t *testing.T) {
	for _, kind := range []string{"build", "prepare", "switch", "watch"} {
		t.Run(kind, func(t *testing.T) {
			s := newSystem(t)
			s.run(s.deploy.RunTerm)
			sc := &script{}
			a, _ := s.agent("web-1", sc)
			app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
			first := s.await(s.create(app).ID, gestor.DeploymentSucceeded)
			s.settled(app)
			sc.set(kind, hang)
			d := s.create(app)
			s.Await(t, kind+" to run", func(v *state.View) bool { return s.count(v, d.ID, kind, gestor.TaskRunning) == 1 })
			s.cancel(d.ID)
			s.await(d.ID, gestor.DeploymentCancelled)
			s.settled(app)
			if got := s.app(app); got.CurrentRelease != first.ReleaseID || got.Status != gestor.AppActive || got.ActiveDeployment != "" {
				t.Fatalf("app = %+v", got)
			}
			switched := kind == "switch" || kind == "watch"
			if slices.Contains(a.Begun(), "revert") != switched {
				t.Fatalf("began %v", a.Begun())
			}
		})
	}
}

func TestDeployment_RevertIsTriedUntilItWorks(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	sc := &script{}
	sc.set("switch", failWith("no"))
	tries := 0
	sc.set("revert", func(context.Context, nodestest.Job) *agentv1.TaskFinished {
		if tries++; tries == 1 {
			return nodestest.Failed("nginx does not start")
		}
		return nodestest.Done(nil)
	})
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	d := s.create(app)
	s.Await(t, "an error that explains", func(v *state.View) bool {
		now, err := v.Deployment(context.Background(), d.ID)
		return err == nil && now.State == gestor.DeploymentReverting && strings.Contains(now.Error, "nginx does not start")
	})
	if d := s.await(d.ID, gestor.DeploymentFailed); d.Error != "web-1: no" {
		t.Fatalf("error = %q", d.Error)
	}
}

func TestDeployment_GoesOnUnderANewLeader(t *testing.T) {
	s := newSystem(t)
	sc := &script{}
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	for _, kind := range []string{"build", "prepare", "switch", "watch"} {
		stop := s.run(s.deploy.RunTerm)
		sc.set(kind, hang)
		d := s.create(app)
		s.Await(t, kind+" to run", func(v *state.View) bool { return s.count(v, d.ID, kind, gestor.TaskRunning) == 1 })
		stop()
		two, three := s.run(s.deploy.RunTerm), s.run(s.deploy.RunTerm) // two leaders at once decide the same
		s.cancel(d.ID)
		s.await(d.ID, gestor.DeploymentCancelled)
		s.settled(app)
		two()
		three()
		sc.set(kind, nodestest.Succeed)
	}
}

func TestDeployment_SecondOneOfAnAppIsRefusedWithWhoHoldsTheLock(t *testing.T) {
	s := newSystem(t)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, s.AddNode(t, "web-1"))
	first := s.create(app)
	_, err := s.deploy.CreateDeployment(t.Context(), deploy.Call{Actor: nodestest.Person()}, deploy.Request{App: app})
	if err == nil || !strings.Contains(err.Error(), string(first.ID)) {
		t.Fatalf("err = %v", err)
	}
}

func TestDeployment_RepeatedRequestIsOneDeployment(t *testing.T) {
	s := newSystem(t)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, s.AddNode(t, "web-1"))
	call := deploy.Call{Actor: nodestest.Person(), RequestID: "r1"}
	a, errA := s.deploy.CreateDeployment(t.Context(), call, deploy.Request{App: app})
	b, errB := s.deploy.CreateDeployment(t.Context(), call, deploy.Request{App: app})
	if errA != nil || errB != nil || a.ID != b.ID {
		t.Fatalf("%s %v, %s %v", a.ID, errA, b.ID, errB)
	}
}

func TestRollback_GoesBackWithoutABuild(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a, _ := s.agent("web-1", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	first := s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	s.settled(app)
	before := len(a.Begun())
	d, err := s.deploy.Rollback(t.Context(), deploy.Call{Actor: nodestest.Person()}, app, "")
	if err != nil {
		t.Fatal(err)
	}
	s.await(d.ID, gestor.DeploymentSucceeded)
	s.settled(app)
	if got := strings.Join(a.Begun()[before:], " "); got != "prepare switch watch retire" {
		t.Fatalf("began %s", got)
	}
	if got := s.app(app); got.CurrentRelease != first.ReleaseID {
		t.Fatalf("current = %s, want %s", got.CurrentRelease, first.ReleaseID)
	}
}

func TestRollback_IsRefusedToAReleaseThatIsNoLongerOnTheNodes(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	a, _ := s.agent("web-1", &script{})
	app := s.AddApp(t, "shop", gestor.AppSettings{Keep: 2}, a.Node)
	var made []gestor.ReleaseID
	for range 4 {
		made = append(made, s.await(s.create(app).ID, gestor.DeploymentSucceeded).ReleaseID)
		s.settled(app)
	}
	call := deploy.Call{Actor: nodestest.Person()}
	if _, err := s.deploy.Rollback(t.Context(), call, app, made[0]); !errors.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "removed") {
		t.Errorf("going back to what is gone: %v", err)
	}
	d, err := s.deploy.Rollback(t.Context(), call, app, "")
	if err != nil || d.ReleaseID != made[2] {
		t.Errorf("went back to %s, want %s: %v", d.ReleaseID, made[2], err)
	}
}

func TestDeployment_DoesNotWaitForTheDrainOfTheOneBefore(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	sc := &script{}
	sc.set("retire", hang)
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, a.Node)
	for range 3 {
		s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	}
}
