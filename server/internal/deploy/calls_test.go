package deploy_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

func TestCalls_OtherTenantsFindNothing(t *testing.T) {
	s := newSystem(t)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, s.AddNode(t, "web-1"))
	d := s.create(app)
	stranger := deploy.Call{Actor: gestor.Actor{Kind: "user", ID: "usr_2", TenantID: "ten_2"}}
	_, create := s.deploy.CreateDeployment(t.Context(), stranger, deploy.Request{App: app})
	_, build := s.deploy.CreateBuild(t.Context(), stranger, app, "")
	_, rollback := s.deploy.Rollback(t.Context(), stranger, app, "")
	_, cancel := s.deploy.CancelDeployment(t.Context(), stranger, d.ID)
	_, stop := s.deploy.CancelBuild(t.Context(), stranger, d.BuildID)
	_, remove := s.deploy.DeleteApp(t.Context(), stranger, app, true)
	for name, err := range map[string]error{
		"create": create, "build": build, "rollback": rollback, "cancel": cancel, "cancel build": stop, "delete": remove,
	} {
		if !errors.Is(err, fault.KindNotFound) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}

func TestCreateBuild_StaysWithTheArchitectureOfTheAppsNodes(t *testing.T) {
	s := newSystem(t)
	own, like := s.AddNode(t, "web-2"), s.AddNode(t, "web-1")
	app := s.AddApp(t, "shop", gestor.AppSettings{Branch: "main"}, own)
	b, err := s.deploy.CreateBuild(t.Context(), deploy.Call{Actor: nodestest.Person()}, app, "")
	if err != nil {
		t.Fatal(err)
	}
	if b.Ref != "main" || b.Number != 1 || b.TriggeredBy != "ana@example.com" {
		t.Fatalf("build = %+v", b)
	}
	task, err := s.View(gestor.SystemScope()).Task(t.Context(), b.TaskID)
	if err != nil || len(task.Candidates) != 2 || task.Candidates[0] != own || task.Candidates[1] != like {
		t.Fatalf("candidates = %v, %v", task.Candidates, err)
	}
}

func TestCreateBuild_GoesToNoSharedNodeThatTheAppIsNotPlacedOn(t *testing.T) {
	s := newSystem(t)
	own, theirs := s.AddNode(t, "web-2"), s.AddNode(t, "web-1")
	system := gestor.SystemActor("test")
	for _, op := range []command.Op{
		command.CreateTenant{Tenant: gestor.Tenant{ID: "ten_2", Name: "Two", Plan: gestor.PlanFree}},
		command.ShareNode{ID: theirs, Shared: true, Owner: "ten_2"},
	} {
		if _, err := s.Propose(t.Context(), command.Command{At: time.Now(), Actor: system, Op: op}); err != nil {
			t.Fatal(err)
		}
	}
	for slug, nodes := range map[string][]gestor.NodeID{"shop": {own}, "blog": {theirs, own}} {
		app := s.AddApp(t, slug, gestor.AppSettings{Branch: "main"}, nodes...)
		b, err := s.deploy.CreateBuild(t.Context(), deploy.Call{Actor: nodestest.Person()}, app, "")
		if err != nil {
			t.Fatal(err)
		}
		task, err := s.View(gestor.SystemScope()).Task(t.Context(), b.TaskID)
		if err != nil || !slices.Equal(task.Candidates, nodes) {
			t.Errorf("%s may be built on %v, want %v (%v)", slug, task.Candidates, nodes, err)
		}
	}
}

func TestRollback_SaysThatThereIsNothingToGoBackTo(t *testing.T) {
	s := newSystem(t)
	app := s.AddApp(t, "shop", gestor.AppSettings{}, s.AddNode(t, "web-1"))
	_, err := s.deploy.Rollback(t.Context(), deploy.Call{Actor: nodestest.Person()}, app, "")
	if !errors.Is(err, fault.KindConflict) {
		t.Fatalf("err = %v", err)
	}
}
