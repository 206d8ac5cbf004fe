package deploy_test

import (
	"context"
	"sync"
	"testing"
	"time"

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
	hist   *history.Store
	blobs  *blob.Store
	url    string
}

type noSecrets struct{}

func (noSecrets) ForTask(context.Context, gestor.Task) (*agentv1.Secrets, error) {
	return &agentv1.Secrets{}, nil
}

func newSystem(t *testing.T) *system {
	t.Helper()
	e := nodestest.NewEngine(t)
	hist, blobs := nodestest.Stores(t)
	s := &system{Engine: e, t: t, hist: hist, blobs: blobs}
	s.disp = dispatch.New(dispatch.Options{Engine: e, Times: dispatch.Times{Lease: time.Second, Margin: 200 * time.Millisecond, Explain: 10 * time.Millisecond}})
	s.deploy = deploy.New(deploy.Options{Engine: e})
	s.nodes = nodes.New(nodes.Options{
		Engine: e, History: hist, Blobs: blobs, Secrets: noSecrets{}, Leases: s.disp, Caller: nodestest.Caller,
		Times: nodes.Times{Heartbeat: 200 * time.Millisecond, Suspect: 600 * time.Millisecond, Lost: time.Second},
	})
	s.url = nodestest.NewServer(t, s.nodes)
	s.run(s.nodes.Run)
	s.run(s.nodes.RunTerm)
	s.run(s.disp.RunTerm)
	return s
}

// run runs a loop until the test ends or stop is called.
func (s *system) run(f func(context.Context) error) (stop func()) {
	s.t.Helper()
	return nodestest.Run(s.t, f)
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
