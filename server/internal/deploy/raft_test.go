package deploy_test

import (
	"context"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/dispatch"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// replicated is the work engine over a real Raft log on disk, with an app on one node.
type replicated struct {
	t      testing.TB
	engine *engine.Engine
	deploy *deploy.Service
	app    gestor.AppID
}

func newReplicated(t testing.TB) *replicated {
	t.Helper()
	e := enginetest.New(t)
	hist, blobs := nodestest.Stores(t)
	disp := dispatch.New(dispatch.Options{Engine: e})
	r := &replicated{t: t, engine: e, deploy: deploy.New(deploy.Options{Engine: e}), app: "app_shop"}
	svc := nodes.New(nodes.Options{
		Engine: e, History: hist, Blobs: blobs, Secrets: noSecrets{}, Leases: disp, Caller: nodestest.Caller,
	})
	for _, loop := range []func(context.Context) error{svc.Run, svc.RunTerm, disp.RunTerm, r.deploy.RunTerm} {
		nodestest.Run(t, loop)
	}
	enginetest.AddNode(t, e, "nod_1", "web-1")
	a := &nodestest.FakeAgent{Node: "nod_1", Client: nodestest.NewClient(t, nodestest.NewServer(t, svc), "nod_1"), Work: nodestest.Succeed}
	a.Start(t)
	enginetest.Propose(t, e, enginetest.Actor(), command.CreateApp{App: gestor.App{
		ID: r.app, TenantID: enginetest.Tenant, Slug: "shop",
		Settings: gestor.AppSettings{Repository: "https://git.example.com/shop", Nodes: []gestor.NodeID{"nod_1"}},
	}})
	return r
}

// live makes a deployment and returns how long it took to succeed.
func (r *replicated) live(call func(deploy.Call) (gestor.Deployment, error)) time.Duration {
	r.t.Helper()
	sub := r.engine.Watch(state.Deployments)
	defer sub.Close()
	began := time.Now()
	d, err := call(deploy.Call{Actor: enginetest.Actor()})
	if err != nil {
		r.t.Fatal(err)
	}
	limit := time.After(20 * time.Second)
	for {
		now, err := r.engine.View(gestor.SystemScope()).Deployment(context.Background(), d.ID)
		if err != nil {
			r.t.Fatal(err)
		}
		if now.State.Ended() {
			if now.State != gestor.DeploymentSucceeded {
				r.t.Fatalf("deployment %s: %s", now.State, now.Error)
			}
			return time.Since(began)
		}
		select {
		case <-sub.C:
		case <-limit:
			r.t.Fatalf("deployment is still %s", now.State)
		}
	}
}

func (r *replicated) create(c deploy.Call) (gestor.Deployment, error) {
	return r.deploy.CreateDeployment(context.Background(), c, deploy.Request{App: r.app})
}

func (r *replicated) rollback(c deploy.Call) (gestor.Deployment, error) {
	return r.deploy.Rollback(context.Background(), c, r.app, "")
}

func TestDeployment_WorksOverARealLog(t *testing.T) {
	r := newReplicated(t)
	r.live(r.create)
	r.live(r.create)
	r.live(r.rollback)
}

// What the server adds to a deployment whose tasks take no time.
func BenchmarkDeployment(b *testing.B) {
	r := newReplicated(b)
	for b.Loop() {
		r.live(r.create)
	}
}

func BenchmarkRollback(b *testing.B) {
	r := newReplicated(b)
	r.live(r.create)
	r.live(r.create)
	for b.Loop() {
		r.live(r.rollback)
	}
}
